"""Promises of deep_narrow's activations: the closed formula against tensors that autograd really keeps, on the CPU."""

import pytest
import torch

from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.evaluation.losses import language_loss
from frontpage.models.deep_narrow import NORMS, DeepNarrow
from frontpage.training.memory.fake_step import fake_step

WIDTH, HEADS, TIME = 96, 4, 64


def net_of(norm, layers):
    torch.manual_seed(0)
    return accelerate(DeepNarrow(50, TIME, WIDTH, layers, HEADS, CausalAttention, norm=norm)).train()


def saved(net, rows, precision):
    """Bytes of the storages that autograd keeps of the trunk's forward pass, weights and buffers left out."""
    inside = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in inside:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    tokens = torch.randint(3, 50, (rows, TIME))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            hidden = net.hidden(tokens)
    assert hidden.isfinite().all()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def slope(norm, precision):
    """Bytes a token and layer: what one more of both adds, so that weights cast to half precision fall out."""
    by_rows = [saved(net_of(norm, 4), rows, precision) - saved(net_of(norm, 2), rows, precision) for rows in (2, 4)]
    return (by_rows[1] - by_rows[0]) / (2 * 2 * TIME)


def formula(norm, precision):
    """A = 2 r d + a [(n_in + 3 + x + o) d + m f] + 4 h + 16 bytes, f = 4 d.

    `n_in` is 2, as queries, keys and values come of one matrix and gate and up of another, so that each norm's output
    is cast once; `x` 2, as turned queries and keys are new beside the fused buffer that values still lie in; `o` 2, as
    the kernel lays its output out as the turned queries lie; `m` 4: gate, up, silu(gate), their product. Under autocast
    a CPU attends in fp32: queries, keys, values and the output have 4 bytes, and the buffer behind them goes. RMSNorm
    is not fused on a CPU and keeps another 4 d each, and 4 bytes of statistics for 8.
    """
    d, r = WIDTH, 4
    if precision == "32-true":
        kept = 2 * r * d + 4 * ((2 + 3 + 2 + 2) * d + 4 * 4 * d)
    else:
        kept = 2 * r * d + 2 * ((2 + 1) * d + 4 * 4 * d) + 4 * (3 + 1) * d
    return kept + 4 * HEADS + 16 + (2 * 4 * d - 8 if norm == "rmsnorm" else 0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("norm", NORMS)
def test_a_layer_keeps_what_the_closed_formula_says(norm, precision):
    assert slope(norm, precision) == pytest.approx(formula(norm, precision), rel=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_estimate_of_a_layer_is_the_same(norm, precision):
    net = net_of(norm, 3)
    few, more = (
        fake_step(net, language_loss, rows, TIME, precision=precision, document_mask=False).saved["block 1"]
        for rows in (4, 8)
    )
    assert (more - few) / (4 * TIME) == pytest.approx(formula(norm, precision), rel=0.01)
