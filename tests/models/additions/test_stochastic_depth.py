"""StochasticDepth by value: who skips what, and what the others have."""

from functools import partial

import pytest
import torch
from nets import added, embedded

from frontpage.models.additions.stochastic_depth import StochasticDepth
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT

TOKENS = torch.arange(48).view(4, 12)
NETS = {"pre": (GPT, {}), "post": (DeepNarrow, {"norm": "deepnorm", "positions": "learned"})}


def net_of(name, rate, n_layer=5):
    architecture, settings = NETS[name]
    return added(architecture, n_layer, addition={"stochastic_depth": partial(StochasticDepth, rate=rate)}, **settings)


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_a_row_skips_a_layer_or_has_more_of_it(name):
    net, skipped = net_of(name, 0.6).train(), 0
    x = embedded(net, TOKENS)
    torch.manual_seed(3)
    for layer, block in enumerate(net.blocks, start=1):
        share = 0.6 * layer / 5
        kept = torch.rand(4, 1, 1) >= share
        skipped += int((~kept).sum())
        x = torch.where(kept, x + (block(x) - x) / (1 - share), x)
    assert 0 < skipped < 20
    torch.manual_seed(3)
    torch.testing.assert_close(net.through_rounds(embedded(net, TOKENS), None, None, None), x, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_evaluation_has_every_layer_whole(name):
    net = net_of(name, 0.9)
    plain = added(NETS[name][0], **NETS[name][1])
    assert torch.equal(net(TOKENS), plain(TOKENS))
    assert not torch.allclose(net.train()(TOKENS), plain(TOKENS), atol=1e-3)


def test_rows_skip_as_often_as_said_and_their_mean_is_the_whole_layer():
    """Of 20,000 rows; a share deviates by less than 4 standard errors."""
    depth = StochasticDepth(added(n_layer=4), rate=0.4).train()
    before, after = torch.full((20_000, 2, 3), 2.0), torch.full((20_000, 2, 3), 5.0)
    torch.manual_seed(0)
    for layer in range(1, 5):
        share, found = 0.1 * layer, depth.after_layer(layer - 1, before, after)
        assert torch.equal(found, found[:, :1, :1].expand_as(found))  # a row as a whole
        skips = (found[:, 0, 0] == 2).double().mean().item()
        assert skips == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)
        assert found.mean().item() == pytest.approx(5, abs=0.1)


def test_a_rate_of_0_draws_nothing_and_changes_nothing():
    depth, x = StochasticDepth(added(n_layer=2), rate=0.0).train(), torch.randn(4, 3, 2)
    state = torch.get_rng_state()
    assert torch.equal(depth.after_layer(1, x, x + 1), x + 1)
    assert torch.equal(torch.get_rng_state(), state)
