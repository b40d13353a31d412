"""Promises of the states of layers: they are what the net computes on its way, in every architecture."""

import itertools

import pytest
import torch
from tiny import architectures, composed

from frontpage.command.build import build

SMALL = ("data=synthetic", "data.block_size=32", "model.d_model=32", "model.n_layer=4", "model.n_head=4")
VOCABULARY = 50


def net_of(model, *overrides):
    torch.manual_seed(0)
    net = build(composed(*SMALL, f"model={model}", *overrides).model, "model", vocab_size=VOCABULARY).net
    return net.double().eval()


def tokens_of(rows, length, seed=0):
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("model", "more"),
    [*itertools.product(architectures(), [()]), ("modern", ()), ("unet_gpt", ("model.widths=[32,16,24,8,12]",))],
)
@torch.no_grad()
def test_they_are_what_hooks_on_the_blocks_see(model, more):
    net, tokens, seen = net_of(model, *more), tokens_of(3, 9), {}
    for index, block in enumerate(net.blocks):
        block.register_forward_hook(lambda _, __, out, index=index: seen.update({index + 1: out}))
    net.hidden(tokens)
    found = net.layer_states(tokens, range(len(net.blocks) + 1))
    assert [*found] == [0, *seen]
    assert [states.shape[-1] for states in found.values()] == [net.widths[0], *net.widths]
    assert torch.equal(found.pop(0), embedding_of(net, tokens))
    assert all(torch.equal(states, seen[layer]) for layer, states in found.items())


def embedding_of(net, tokens):
    x = net.token_embedding(tokens)
    return x if net.position_table is None else x + net.position_table[: tokens.shape[1]]


@torch.no_grad()
def test_only_the_chosen_layers_are_kept_and_read_at_once():
    net, tokens = net_of("gpt"), tokens_of(2, 7)
    every = net.layer_states(tokens, range(5))
    read = net.layer_states(tokens, [4, 1], lambda states: states.mean(1))
    assert [*read] == [1, 4]
    assert all(torch.equal(means, every[layer].mean(1)) for layer, means in read.items())
    assert torch.equal(net.final_norm(every[4]), net.hidden(tokens))


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_they_are_there_in_training_too_with_activation_checkpointing(checkpointing):
    net, tokens = net_of("gpt", f"model.activation_checkpointing={checkpointing}"), tokens_of(2, 7)
    states = net.train().layer_states(tokens, [2])
    assert [*states] == [2] and states[2].requires_grad
