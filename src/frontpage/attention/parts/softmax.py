"""Softmax attention as papers write it: what every faster computation must give."""

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """q (B, H, T, D), k and v (B, Hkv, S, D), mask up to (B, H, T, S) -> (B, H, T, D)."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:  # added, because the gradient of a sum costs nothing
        scores += scores.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ v


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """(B, Hkv, S, D) -> (B, heads, S, D): each shared head beside itself, for the heads that share it."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
