"""Any differentiable loss of the logits of a linear layer, which are never held all at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits (P, n, V) of some places, and which places these are -> (what is descended, what is only told), scalars that
# are summed over the places.
OfLogits = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


class ChunkedLoss(torch.autograd.Function):
    """What `of_logits` says of each chunk of logits, summed; the chunk's graph is gone before the next is computed.

    As in ChunkedCrossEntropy, both gradients are computed chunk by chunk in the forward pass, products are of type
    `kind` and what follows them at least fp32; but the loss of a chunk may be any that autograd can differentiate.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, of_logits: OfLogits, kind: torch.dtype, rows: int
    ) -> tuple[Tensor, Tensor]:
        """states (P, N, C) of P passes, weight (V, C) -> (descended, told), scalars; `rows` of N at once."""
        wide = torch.promote_types(kind, torch.float32)
        with torch.autocast(states.device.type, enabled=False), _own_graph():
            read, head = states.to(kind), weight.to(kind)
            d_states, d_weight = torch.empty_like(read), torch.zeros_like(weight, dtype=wide)
            descended, told = states.new_zeros(2, dtype=wide).unbind()
            for start in range(0, read.shape[1], rows):
                place = slice(start, start + rows)
                logits = (read[:, place] @ head.mT).requires_grad_()
                with torch.enable_grad():
                    loss, beside = of_logits(logits.to(wide), place)
                (d_logits,) = torch.autograd.grad(loss, logits)
                descended, told = descended + loss.detach(), told + beside.detach()
                d_states[:, place] = d_logits @ head
                d_weight += d_logits.flatten(0, 1).mT @ read[:, place].flatten(0, 1)
        ctx.save_for_backward(d_states, d_weight)
        ctx.types = states.dtype, weight.dtype
        ctx.mark_non_differentiable(told)
        return descended, told

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_descended: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """What was computed forward, times the gradient of the sum."""
        d_states, d_weight = ctx.saved_tensors
        to_states, to_weight = ctx.types
        return (d_states * d_descended).to(to_states), (d_weight * d_descended).to(to_weight), None, None, None


def _own_graph() -> torch.autograd.graph.saved_tensors_hooks:
    """A chunk's graph ends with it: what watches the tensors that autograd keeps (`fake_step`) is not told of it."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
