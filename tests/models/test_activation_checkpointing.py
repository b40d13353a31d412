"""Promises of activation checkpointing: less is kept, and no gradient changes, for every architecture and attention."""

import itertools

import pytest
import torch
from tiny import architectures, composed, options
from torch.multiprocessing.reductions import StorageWeakRef

from frontpage.command.build import build
from frontpage.data.packing import TitleBatch

VOCABULARY, TIME, LAYERS = 50, 24, 3
COMBINATIONS = list(itertools.product(architectures(), options("model/attention")))


def build_module(model, attention, checkpointing, dropout):
    sizes = ("data.block_size=32", "model.d_model=64", f"model.n_layer={LAYERS}", "model.n_head=4")
    config = composed(f"model={model}", f"model/attention={attention}", *sizes)
    config.model.activation_checkpointing, config.model.dropout = checkpointing, dropout
    torch.manual_seed(0)
    return build(config.model, "model", vocab_size=VOCABULARY).train()


def batch():
    """Two rows of two titles."""
    inputs = torch.randint(3, VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(1))
    documents = (torch.arange(TIME) >= 10).long().expand(2, -1).contiguous()
    positions = torch.cat((torch.arange(10), torch.arange(TIME - 10))).expand(2, -1).contiguous()
    return TitleBatch(inputs, inputs, documents, positions)


def gradients(module, document_mask):
    module.document_mask = document_mask
    torch.manual_seed(7)
    module.hidden(batch()).square().sum().backward()
    return {name: weight.grad.clone() for name, weight in module.net.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("dropout", "document_mask"), [(0.0, False), (0.3, True)])
@pytest.mark.parametrize(("model", "attention"), COMBINATIONS)
@pytest.mark.slow
def test_gradients_are_the_same_to_the_last_bit(model, attention, dropout, document_mask):
    expected = gradients(build_module(model, attention, "none", dropout), document_mask)
    assert sum(bool(gradient.any()) for gradient in expected.values()) > LAYERS
    for checkpointing in ("full", "every_2"):
        found = gradients(build_module(model, attention, checkpointing, dropout), document_mask)
        assert found.keys() == expected.keys()
        assert all(torch.equal(gradient, expected[name]) for name, gradient in found.items())


@pytest.mark.parametrize(
    ("checkpointing", "expected"),
    [
        ("none", [False, False, False]),
        ("full", [True, True, True]),
        ("every_1", [True, True, True]),
        ("every_2", [True, False, True]),
        ("every_3", [True, False, False]),
        ("every_12", [True, False, False]),
    ],
)
@pytest.mark.parametrize("model", architectures())
def test_checkpointed_blocks_keep_nothing_and_run_again_in_the_backward_pass(model, checkpointing, expected):
    """The activation between the MLP's matrices is of no use after the forward pass, unless autograd has kept it."""
    net = build_module(model, "causal", checkpointing, 0.0).net
    assert [net.checkpointed(index) for index in range(LAYERS)] == expected
    runs, inner = [0] * LAYERS, [[] for _ in range(LAYERS)]

    def watch(index):
        def count(*_):
            runs[index] += 1

        def remember(part, given, output):
            inner[index].append(StorageWeakRef(output.untyped_storage()))

        net.blocks[index].register_forward_pre_hook(count)
        net.blocks[index].mlp.up.register_forward_hook(remember)

    for index in range(LAYERS):
        watch(index)
    result = net.hidden(batch().inputs).square().sum()
    assert runs == [1] * LAYERS
    assert [references[0].expired() for references in inner] == expected
    result.backward()
    assert runs == [2 if again else 1 for again in expected]


@pytest.mark.parametrize("situation", ["evaluation", "no gradient", "cache"])
def test_nothing_is_checkpointed_where_nothing_is_trained(monkeypatch, situation):
    def refuse(*_, **__):
        raise AssertionError("checkpointed")

    net = build_module("gpt", "causal", "full", 0.0).net
    monkeypatch.setattr("frontpage.models.decoder.checkpoint", refuse)
    tokens = batch().inputs
    with pytest.raises(AssertionError, match="checkpointed"):
        net(tokens)
    if situation == "evaluation":
        net.eval()(tokens)
    elif situation == "cache":
        net(tokens, cache=net.new_cache())
    else:
        with torch.no_grad():
            net(tokens)
