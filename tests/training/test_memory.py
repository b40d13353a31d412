"""Promises of the memory estimates: as much as autograd really keeps, for every architecture with every attention."""

import copy
import functools
import itertools
import warnings

import lightning as L
import pytest
import torch
from estimated_nets import ROWS, TIME, VOCABULARY, module_of, plain_gpt
from tiny import architectures, options

from frontpage.evaluation.losses import language_loss, next_token_loss
from frontpage.machine.as_gpu import as_on_card
from frontpage.training.memory.estimate import estimate_training, explain_step, generation_bytes
from frontpage.training.memory.fake_step import dtypes_of, fake_step

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
ACCEPTED = "32 32-true 64 64-true 16 16-true 16-mixed bf16 bf16-true bf16-mixed".split()
COMBINATIONS = list(itertools.product(architectures(), options("model/attention")))
GPT_FAST = [pytest.param(*pair, marks=[pytest.mark.slow] * (pair[0] != "gpt")) for pair in COMBINATIONS]


def batch():
    """Tokens of several documents a row, their ids, and positions inside them."""
    lengths = torch.tensor([20, 1, 33, 10])
    ids = torch.repeat_interleave(torch.arange(4), lengths).repeat(ROWS, 1)
    positions = torch.cat([torch.arange(length) for length in lengths]).repeat(ROWS, 1)
    return torch.randint(3, VOCABULARY, (ROWS, TIME)), ids, positions


@functools.cache
def lightnings(precision):
    """What Lightning makes of a precision on the CPU."""
    with warnings.catch_warnings(action="ignore"):  # bare 16 and bf16; fp16 as bf16
        return L.Trainer(precision=precision, accelerator="cpu", logger=False, barebones=True).precision_plugin


def counted(net, precision, inputs=None):
    """Bytes that autograd keeps in a real step of a copy, weights and buffers left out."""
    net = lightnings(precision).convert_module(copy.deepcopy(net).train())
    tokens, *context = batch() if inputs is None else inputs
    inside = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers(), tokens)}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in inside:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with lightnings(precision).forward_context():
            loss = next_token_loss(net.hidden(tokens, *context), net.head.weight, tokens)
    assert loss.isfinite()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize(("model", "attention"), GPT_FAST, ids=lambda name: name)
def test_the_estimate_is_within_a_tenth_of_what_autograd_keeps(model, attention):
    module = module_of(f"model={model}", f"model/attention={attention}")
    for precision in PRECISIONS:
        step = fake_step(module.net, language_loss, ROWS, TIME, precision=precision, document_mask=True)
        assert sum(step.saved.values()) == pytest.approx(counted(module.net, precision), rel=0.1), precision


@pytest.mark.parametrize("precision", ACCEPTED)
@pytest.mark.slow
def test_each_precision_that_lightning_takes_is_counted(precision):
    net = module_of("model=modern", "model/attention=local").net
    step = fake_step(net, language_loss, ROWS, TIME, precision=precision, document_mask=True)
    assert sum(step.saved.values()) == pytest.approx(counted(net, precision), rel=0.05)
    memory = estimate_training(net, functools.partial(torch.optim.AdamW, lr=1.0), ROWS, TIME, precision=precision)
    converted = lightnings(precision).convert_module(copy.deepcopy(net))
    weights, buffers = (
        sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        for tensors in (converted.parameters(), converted.buffers())
    )
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, 2 * weights)
    assert memory.buffers == buffers
    state = converted.token_embedding.weight.element_size() * ROWS * TIME * 64
    assert explain_step(net, ROWS, TIME, precision=precision).layers[0].checkpointed == state


def test_a_precision_that_lightning_does_not_take_is_refused():
    for precision in ("8", "32-mixed", "64-mixed", "bf16-", "bf17", "transformer-engine"):
        with pytest.raises(ValueError, match=f"precision={precision}: one of"):
            dtypes_of(precision)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=gpt", "model/attention=causal"),
        ("model=gpt", "model/attention=local", "model.attention.backend=reshape"),
        ("model=modern", "model/attention=fixed", "model.attention.backend=reshape"),
        ("model=unet_gpt", "model/attention=strided", "model.attention.backend=reshape"),
        ("model=gpt", "model/attention=causal", "model.attention_dropout=0.1"),
        ("model=modern", "model/attention=sparsek", "model.attention_dropout=0.1"),
        ("model=unet_gpt", "model/attention=gated_delta", "model.attention_dropout=0.1"),
        ("model=gpt", "model/attention=local", "model.attention.backend=reshape", "model.attention_dropout=0.1"),
    ],
    ids=lambda overrides: "-".join(override.split("=")[1] for override in overrides),
)
@pytest.mark.slow
def test_long_rows_of_one_document_are_estimated_too(overrides):
    net = module_of("data.block_size=256", *overrides).net
    tokens = torch.randint(3, VOCABULARY, (ROWS, 256))
    for precision in ("32-true", "bf16-mixed"):
        step = fake_step(net, language_loss, ROWS, 256, precision=precision, document_mask=False)
        real = counted(net, precision, (tokens,))
        assert sum(step.saved.values()) == pytest.approx(real, rel=0.1), precision


@pytest.mark.parametrize(("model", "attention"), COMBINATIONS, ids=lambda name: name)
def test_a_generating_models_caches_are_as_large_as_said(model, attention):
    net = module_of(f"model={model}", f"model/attention={attention}").net.eval()
    caches = net.new_cache()
    with torch.no_grad():
        for part in batch()[0].split([5, 1, 58], dim=1):
            net(part, cache=caches)
    tensors = [value for cache in caches for value in vars(cache).values() if torch.is_tensor(value)]
    held = sum(tensor.numel() * 4 for tensor in tensors if tensor.is_floating_point())
    weights = sum(weight.numel() * 4 for weight in net.parameters())
    assert generation_bytes(net, ROWS, TIME) == (weights, held)


ADDED = (
    "model.positions=rotary model.rotary_share=0.5 model/addition=[value_embeddings,head_gate,exclusive,shifted_keys]"
)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["causal", "local", "sparsek"])
def test_what_is_added_to_heads_is_estimated_too(attention):
    net = module_of(f"model/attention={attention}", *ADDED.split()).net
    for precision in PRECISIONS:
        step = fake_step(net, language_loss, ROWS, TIME, precision=precision, document_mask=True)
        assert sum(step.saved.values()) == pytest.approx(counted(net, precision), rel=0.1), precision


def test_what_a_net_keeps_beside_its_attentions_counts_as_it_says(monkeypatch):
    net = plain_gpt()
    weights, caches = generation_bytes(net, ROWS, TIME)
    own = net.cache_numbers
    monkeypatch.setattr(net, "cache_numbers", lambda length: own(length) + 3 * 96)
    assert generation_bytes(net, ROWS, TIME) == (weights, caches + ROWS * 3 * 96 * 4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_a_layer_keeps_what_the_closed_formula_says(activation, precision):
    """A = 2 r d + a [(n_in + 3 + o) d + m f] + 4 h + 16 bytes a token and layer, plus the casts under autocast.

    So on a card; a CPU attends in fp32 and casts the result.

    `r`, `a`: bytes of the residual stream and of activations; `n_in` 2 norm outputs; 3 for q, k, v in one buffer; `o`
    1, the attention's output, which the kernel lays out as the next layer reads it; `m` 2 for GELU, 4 for SwiGLU:
    gate, value, silu(gate) and the product.
    """
    net, d, h = plain_gpt(activation=activation, d_ff=96 * 4), 96, 4
    r = 2 if precision == "bf16-true" else 4
    a = 4 if precision == "32-true" else 2
    m = {"gelu": 2, "swiglu": 4}[activation]
    formula = 2 * r * d + a * ((2 + 3 + 1) * d + m * 4 * d) + 4 * h + 16
    with as_on_card():
        assert slope(net, precision) == pytest.approx(formula, rel=0.02)
    wide = 0 if precision == "32-true" else (3 + 1) * (4 - 2) * d + 2 * d
    assert slope(net, precision) == pytest.approx(formula + wide, rel=0.02)


def slope(net, precision):
    """Bytes that a token more keeps of block 1."""
    few, more = (
        fake_step(net, language_loss, rows, 64, precision=precision, document_mask=False).saved["block 1"]
        for rows in (4, 8)
    )
    return (more - few) / (4 * 64)


@pytest.mark.slow
def test_a_half_precision_copy_of_each_linear_weight_is_kept_under_autocast():
    net = plain_gpt()
    linear = sum(part.weight.numel() + part.bias.numel() for block in net.blocks for part in linears(block))
    for precision, bytes_a_weight in (("32-true", 0), ("bf16-mixed", 2), ("bf16-true", 0)):
        casts = explain_step(net, 2, 64, precision=precision).casts
        assert casts == pytest.approx(bytes_a_weight * linear, rel=0.01)


def linears(block):
    return [part for part in block.modules() if isinstance(part, torch.nn.Linear)]
