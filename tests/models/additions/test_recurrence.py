"""Recurrence by value: two rounds, gradients of the last, caches and operations of both, and a state of the weights."""

import copy
from functools import partial

import pytest
import torch
from nets import added, embedded
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from frontpage.machine.flops import training_flops_per_token
from frontpage.models.additions.embedding_again import EmbeddingAgain
from frontpage.models.additions.recurrence import Recurrence
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT
from frontpage.recipe.precision.integers import load_plain_state, plain_state

TOKENS = torch.arange(24).view(2, 12)
NETS = {
    "gpt": (GPT, {"tie_embeddings": False}),
    "post": (DeepNarrow, {"norm": "deepnorm", "tie_embeddings": False}),
    "unet": (UNetGPT, {"widths": [32, 16, 32], "tie_embeddings": False}),
}


def net_of(name, share, **addition):
    architecture, settings = NETS[name]
    net = added(architecture, 3, addition={"recurrence": Recurrence} | addition, **settings)
    net.additions["recurrence"].at(share)
    return net


def once(net, x, first):
    """Through the layers, from what they read."""
    return net.through_blocks(x, first, None, torch.arange(12), None)


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_the_layers_read_what_they_gave(name):
    plain, net = added(NETS[name][0], 3, **NETS[name][1]), net_of(name, 0.0)
    assert torch.equal(net(TOKENS), plain(TOKENS))
    net.additions["recurrence"].at(1.0)
    first = embedded(net, TOKENS)
    states = once(plain, once(plain, first, first), first)
    found = net.final_norm(states) * net.logit_scale
    torch.testing.assert_close(net.hidden(TOKENS), found, rtol=0, atol=1e-12)
    assert not torch.allclose(net(TOKENS), plain(TOKENS), atol=1e-3)


@torch.no_grad()
def test_both_rounds_read_the_same_embedding_again():
    net = net_of("gpt", 1.0, embedding_again=EmbeddingAgain)
    x = first = embedded(net, TOKENS)
    for _ in range(2):
        for block, (of_stream, of_embedding) in zip(net.blocks, net.additions["embedding_again"].factors, strict=True):
            x = block(of_stream * x + of_embedding * first)
    torch.testing.assert_close(net(TOKENS), net.head(net.final_norm(x)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_last_round_and_reach_the_embedding_past_the_first(name):
    net = net_of(name, 1.0)
    net(TOKENS).logsumexp(-1).sum().backward()
    found = {key: weight.grad for key, weight in net.named_parameters()}
    net.zero_grad()
    with torch.no_grad():
        first = embedded(net, TOKENS)
        given = once(net, first, first)
    given.requires_grad_()
    states = once(net, given, first)
    net.head(net.final_norm(states) * net.logit_scale).logsumexp(-1).sum().backward()
    ends = {"token_embedding.weight", "position_table"} & found.keys()
    for key, weight in net.named_parameters():
        if key not in ends:
            torch.testing.assert_close(found[key], weight.grad, rtol=0, atol=1e-12)
    table = torch.zeros_like(net.token_embedding.weight)
    torch.testing.assert_close(found["token_embedding.weight"], table.index_put((TOKENS,), given.grad, accumulate=True))


@pytest.mark.parametrize(("share", "rounds"), [(0.0, 1), (0.69, 1), (0.7, 2), (1.0, 2)])
def test_there_are_two_rounds_from_its_start_on_whatever_there_was_before(share, rounds):
    net = added(n_layer=1, addition={"recurrence": partial(Recurrence, start=0.7)})
    for before in (1.0, 0.0):
        net.additions["recurrence"].at(before)
        net.additions["recurrence"].at(share)
        assert net.rounds == rounds and bool(net.additions["recurrence"].twice) == (rounds == 2)


@torch.no_grad()
def test_the_rounds_are_a_state_of_the_weights():
    once, twice = net_of("gpt", 0.0), net_of("gpt", 1.0)
    other = copy.deepcopy(once)
    for net in (twice, once, twice):
        other.load_state_dict(net.state_dict())
        assert other.rounds == net.rounds and torch.equal(other(TOKENS), net(TOKENS))
        assert torch.equal(copy.deepcopy(other)(TOKENS), net(TOKENS))


@torch.no_grad()
def test_a_quantised_state_brings_the_rounds_too():
    other, twice = net_of("gpt", 0.0), net_of("gpt", 1.0)
    load_plain_state(other, plain_state(twice, bits=8), bits=8)
    assert other.rounds == 2 and torch.equal(other(TOKENS), twice(TOKENS))


@torch.no_grad()
def test_an_average_of_weights_has_the_rounds_of_the_newest():
    net = net_of("gpt", 0.0)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for share in (0.5, 1.0, 1.0):
        net.additions["recurrence"].at(share)
        average.update_parameters(net)
    other = net_of("gpt", 0.0)
    other.load_state_dict(average.module.state_dict())
    assert other.rounds == 2


@torch.no_grad()
def test_there_are_caches_for_both_rounds():
    net = net_of("gpt", 0.0)
    of_one = net.cache_numbers(12)
    net.additions["recurrence"].at(1.0)
    cache = net.new_cache()
    net(TOKENS, cache=cache)
    assert len(cache) == 2 * 3 and [len(one) for one in cache] == [12] * 6
    held = sum(tensor.numel() for one in cache for tensor in (one.keys, one.values)) // 2  # of two rows
    assert held == net.cache_numbers(12) == 2 * of_one


def test_a_cache_that_an_architecture_adds_cannot_be_doubled():
    class Recalling(GPT):
        def new_cache(self):
            return [*super().new_cache(), object()]

    with pytest.raises(ValueError, match=r"^start=0\.7: recurrence cannot double the caches that Recalling adds"):
        added(Recalling, addition={"recurrence": Recurrence})


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}])
def test_operations_are_those_of_the_products_that_training_makes(changes):
    """PyTorch counts those of a step; what the formula adds for norms, biases and attention is taken off again."""
    net = added(n_layer=2, positions="rotary", addition={"recurrence": Recurrence}, **changes).float()
    tokens = torch.zeros(1, 16, dtype=torch.int64)
    for share, vector, score in ((0.0, 6, 3), (1.0, 8, 4)):
        net.additions["recurrence"].at(share)
        with FlopCounterMode(display=False) as counter:
            net(tokens).sum().backward()
        counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
        products = sum(count for operation, count in counts.items() if operation in ("aten.mm", "aten.addmm"))
        vectors = sum(weight.numel() for weight in net.parameters() if weight.dim() == 1)
        found = training_flops_per_token(net, 16) - vector * vectors - score * net.mixing_flops(16)
        assert found == pytest.approx(products / 16, rel=1e-12)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_first_round_leaves_no_casts_to_the_second(enabled):
    """PyTorch before 2.11 would use them, which have no gradient."""
    net, seen = net_of("gpt", 1.0).float(), []
    net.blocks[0].register_forward_pre_hook(
        lambda *_: seen.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        net(TOKENS)
    assert seen == [(enabled, False), (enabled, True)]


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch imports torch.jit for itself
def test_a_compiled_net_follows_when_the_second_round_begins():
    net = net_of("gpt", 0.0)
    compiled = torch.compile(net.hidden, backend="aot_eager")
    for share in (0.0, 1.0, 0.0):
        net.additions["recurrence"].at(share)
        torch.testing.assert_close(compiled(TOKENS), net.hidden(TOKENS), rtol=0, atol=1e-12)
