"""SparseK's attention by compiled kernels for CPUs, which keeps for the backward pass what it was given and no more."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from frontpage.attention.kernels.listed_kernel import NONE, SOFT, STRAIGHT, attend, gradients
from frontpage.attention.kernels.sparsek_choice import Choice, choose, gates_of, lists_of, scores_gradient

USES = {"hard": NONE, "straight_through": STRAIGHT, "soft": SOFT}


def sparsek_by_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scores: Tensor,
    first: Tensor,
    *,
    chosen: int,
    window: int,
    gate: Literal["straight_through", "soft", "hard"],
) -> Tensor:
    """q (B, H, T, D), k and v (B, Hkv, T, D), scores (B, T), first (1 or B, T) as `choose` has it -> (B, H, T, D).

    `chosen` tokens before the `window` are seen. Computes in float32 or float64, and gives what `v` is.
    """
    kind = torch.promote_types(q.dtype, torch.float32)
    given = *(part.to(kind) for part in (q, k, v)), scores.contiguous(), first.contiguous()
    return _SparseK.apply(*given, chosen, window, USES[gate]).to(v.dtype)


class _SparseK(torch.autograd.Function):
    """Both passes choose for themselves: that is a hundredth of the work, and the choice is as large as the keys."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, scores: Tensor, first: Tensor, chosen: int, window: int, use: int
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, scores, first)
        ctx.settings = chosen, window, use
        choice = choose(scores, first, chosen, window, scores.shape[1], by_kernel=True)
        return attend(q, k, v, lists_of(choice, first, window), _gates(scores, choice, q.dtype, use), use)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, scores, first = ctx.saved_tensors
        chosen, window, use = ctx.settings
        choice = choose(scores, first, chosen, window, scores.shape[1], by_kernel=True)
        keys, gates = lists_of(choice, first, window), _gates(scores, choice, q.dtype, use)
        *d_qkv, d_gates = gradients(q, k, v, d_y, keys, gates, use)
        d_scores = None if use == NONE else scores_gradient(scores, first, *choice, d_gates.to(scores.dtype), window)
        return *d_qkv, d_scores, None, None, None, None


def _gates(scores: Tensor, choice: Choice, kind: torch.dtype, use: int) -> Tensor | None:
    return gates_of(scores, choice).to(kind) if use == SOFT else None
