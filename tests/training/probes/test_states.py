"""Promises of the vectors of texts: padding and neighbours do not matter, the probe leaves a net as it was."""

import random

import numpy as np
import pytest
import torch
from tiny import architectures, composed, options

from frontpage.command.build import build
from frontpage.data.tokenizer.bpe import bpe
from frontpage.models.gpt import GPT
from frontpage.training.probes.states import text_vectors, token_rows, undisturbed

SMALL = ("data=synthetic", "data.block_size=32", "model.d_model=32", "model.n_layer=2", "model.n_head=4")
LENGTHS = (5, 2, 19, 9, 32, 3)


def net_of(*overrides):
    torch.manual_seed(0)
    return build(composed(*SMALL, *overrides).model, "model", vocab_size=50).net.eval()


def rows_of(lengths=LENGTHS):
    draws = np.random.default_rng(0)
    return [draws.integers(0, 50, length) for length in lengths]


@pytest.mark.parametrize("at_once", [1, 4, 100])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_vector_is_that_of_the_text_alone(at_once, pooling):
    net, rows = net_of(), rows_of()
    found = text_vectors(net, rows, range(3), pooling=pooling, pad_id=7, at_once=at_once)
    for place, row in enumerate(rows):
        states = net.layer_states(torch.from_numpy(row)[None], range(3))
        for layer, own in states.items():
            by_hand = own[0, 1:].mean(0) if pooling == "mean" else own[0, -1]
            assert torch.allclose(found[layer][place], by_hand, atol=1e-5), (layer, place)


@pytest.mark.parametrize(
    "chosen",
    [f"model={one}" for one in architectures()] + [f"model/attention={one}" for one in options("model/attention")],
)
@torch.no_grad()
def test_padding_does_not_leak(chosen):
    net, rows = net_of(chosen), rows_of()
    options = {"pooling": "mean", "at_once": 6}
    one, other = (text_vectors(net, rows, range(3), pad_id=pad, **options) for pad in (1, 40))
    assert all(torch.equal(one[layer], other[layer]) for layer in range(3))
    alone = text_vectors(net, rows, range(3), pad_id=1, pooling="mean", at_once=1)
    assert all(torch.allclose(one[layer], alone[layer], atol=1e-4) for layer in range(3))


def test_a_text_begins_with_the_token_that_ends_one_and_is_cut():
    tokenizer = bpe(["some words and some more words"] * 3, vocab_size=300)
    short, long = token_rows(["some words", "some more " * 20], tokenizer, longest=8)
    assert short.tolist() == [tokenizer.eos_id, *tokenizer.encode("some words")]
    assert len(long) == 8 and long.tolist() == [tokenizer.eos_id, *tokenizer.encode("some more " * 20)][:8]


def test_the_net_and_the_generators_are_as_they_were():
    net = GPT(50, 32, 16, 2, 2, attention=build(composed(*SMALL).model.attention, "attention"), dropout=0.5).train()
    net.blocks[0].eval()  # frozen by somebody, who wants it to stay so
    before = [module.training for module in net.modules()], torch.get_rng_state(), np.random.get_state()[1]
    state = random.getstate()
    with pytest.raises(RuntimeError, match="within"), undisturbed(net):
        assert not any(module.training for module in net.modules()) and not torch.is_grad_enabled()
        text_vectors(net, rows_of(), [2], pooling="mean", pad_id=0, at_once=3)
        torch.rand(3)
        raise RuntimeError("within")
    assert [module.training for module in net.modules()] == before[0] and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before[1]) and random.getstate() == state
    assert (np.random.get_state()[1] == before[2]).all()
    assert all(weight.grad is None for weight in net.parameters())
