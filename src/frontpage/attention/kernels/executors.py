"""Softmax attention by PyTorch's fused kernel, or by plain products where these are faster."""

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.parts.softmax import softmax_attention
from frontpage.machine.as_gpu import on_cpu

HALF = (torch.bfloat16, torch.float16)
SMALL_SCORES = 4096  # of one head: up to here plain products were measured to be faster on CPU (docs/log.md)


def sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """PyTorch's fused attention: q (B, H, T, D), k and v (B, Hkv, S, D), mask 2- or 4-dimensional -> (B, H, T, D).

    Values may be of another width than queries and keys: the narrower are filled up with zeros, because unequal widths
    would leave the fused CPU kernel. Half precision is computed in single on CPU, where its backward pass is slow.
    """
    if on_cpu(q.device) and (v.dtype in HALF or torch.is_autocast_enabled("cpu")):
        with torch.autocast("cpu", enabled=False):
            y = sdpa(q.float(), k.float(), v.float(), mask=mask, causal=causal, dropout=dropout, scale=scale)
        return y.to(v.dtype)
    width, value_width = q.shape[-1], v.shape[-1]
    if width != value_width:
        scale, wide = width**-0.5 if scale is None else scale, max(width, value_width)
        q, k, v = (F.pad(part, (0, wide - part.shape[-1])) for part in (q, k, v))
    grouped = k.shape[1] != q.shape[1]
    y = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=scale, enable_gqa=grouped)
    return y[..., :value_width]


def in_tiles(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, causal: bool = False, dropout: float) -> Tensor:
    """What both give, for many small (T, S): on CPU by plain products, which the fused kernel does not reach there."""
    small = on_cpu(q.device) and q.shape[2] * k.shape[2] <= SMALL_SCORES
    return (softmax_attention if small else sdpa)(q, k, v, mask=mask, causal=causal, dropout=dropout)
