"""HalfSkips by value: against the equation written out, and against a UNetGPT of one width."""

import pytest
import torch
from nets import added, embedded

from frontpage.models.additions.half_skips import HalfSkips
from frontpage.models.unet_gpt import UNetGPT

TOKENS = torch.arange(12).view(1, 12)
ACROSS = {3: {2: 0}, 4: {3: 0}, 5: {3: 1, 4: 0}, 6: {4: 1, 5: 0}, 7: {4: 2, 5: 1, 6: 0}}  # layers by layers


def skipping(n_layer):
    return added(n_layer=n_layer, addition={"half_skips": HalfSkips})


@torch.no_grad()
@pytest.mark.parametrize("n_layer", ACROSS)
def test_a_layer_reads_what_the_one_across_has_given(n_layer):
    net, given = skipping(n_layer), []
    x, weights = embedded(net, TOKENS), net.additions["half_skips"].weights
    for index, block in enumerate(net.blocks):
        if index in ACROSS[n_layer]:
            across = ACROSS[n_layer][index]
            x = x + weights[across] * given[across]
        given.append(x := block(x))
    assert len(weights) == len(ACROSS[n_layer])
    torch.testing.assert_close(net(TOKENS), net.head(net.final_norm(x)), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("n_layer", ACROSS)
def test_it_is_a_unet_of_one_width(n_layer):
    net = skipping(n_layer)
    unet = added(UNetGPT, n_layer, widths=[32] * n_layer)
    weights = net.state_dict()
    unet.load_state_dict(weights | {"skip_gates": weights.pop("additions.half_skips.weights")})
    torch.testing.assert_close(net(TOKENS), unet(TOKENS), rtol=0, atol=1e-12)


def test_its_weights_start_at_one():
    net = added(n_layer=6, addition={"half_skips": HalfSkips})
    assert torch.equal(HalfSkips(net).weights, torch.ones(2))


@torch.no_grad()
@pytest.mark.parametrize("n_layer", [1, 2])
def test_a_net_without_a_layer_to_skip_is_as_it_was(n_layer):
    net, plain = skipping(n_layer), added(n_layer=n_layer)
    assert net.state_dict().keys() == plain.state_dict().keys() and torch.equal(net(TOKENS), plain(TOKENS))


def test_a_unet_is_refused():
    with pytest.raises(ValueError, match="^half_skips=HalfSkips: UNetGPT has skips of its own"):
        added(UNetGPT, addition={"half_skips": HalfSkips})
