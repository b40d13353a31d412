"""The computations behind the backends `sdpa`, `math` and `flex`; all give the same result."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.machine.as_gpu import on_cpu

HALF = (torch.bfloat16, torch.float16)
SMALL_SCORES = 4096  # of one head: up to here `math` was measured to be faster on CPU than `sdpa` (docs/log.md)


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


def math(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """The reference: what `sdpa` computes, with the (B, H, T, S) weights as a tensor."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:  # added, because the gradient of a sum costs nothing
        scores += scores.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ v


def in_tiles(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, causal: bool = False, dropout: float) -> Tensor:
    """What both give, for many small (T, S): on CPU by plain products, which the fused kernel does not reach there."""
    small = on_cpu(q.device) and q.shape[2] * k.shape[2] <= SMALL_SCORES
    return (math if small else sdpa)(q, k, v, mask=mask, causal=causal, dropout=dropout)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """(B, Hkv, S, D) -> (B, heads, S, D): each shared head beside itself, for the heads that share it."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


class FlexMask:
    """FlexAttention's view of patterns that share the heads in equal runs, and of the documents of a batch (B, T)."""

    def __init__(
        self,
        patterns: Sequence[Callable[[Tensor, Tensor], Tensor]],
        n_head: int,
        documents: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.patterns, self.run = tuple(patterns), n_head // len(patterns)
        self.ids, self.places = documents if documents is not None else (None, None)
        self.blocks: dict[tuple[int, ...], object] = {}

    def __call__(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Whether the query sees the key: indices of the row, the head and the two tokens."""
        together = key <= query
        if self.ids is not None:
            together = together & (self.ids[batch, query] == self.ids[batch, key])
            query, key = self.places[batch, query], self.places[batch, key]
        allowed = self.patterns[0](query, key)
        for place, pattern in enumerate(self.patterns[1:], start=1):
            allowed = torch.where(head >= place * self.run, pattern(query, key), allowed)
        return together & allowed


def flex(q: Tensor, k: Tensor, v: Tensor, mask: FlexMask) -> Tensor:
    """FlexAttention over the pairs that `mask` shows, compiled on CUDA; (B, H, T, D) as `sdpa`.

    The mask's blocks are computed once for each shape. A compiled kernel is made for each shape and pattern.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    shape = (q.shape[0] if mask.ids is not None else 1, q.shape[1], q.shape[2], k.shape[2])
    if shape not in mask.blocks:
        batch = shape[0] if mask.ids is not None else None
        heads = shape[1] if len(mask.patterns) > 1 else None
        mask.blocks[shape] = create_block_mask(mask, batch, heads, *shape[2:], device=q.device)
    run = _compiled_flex() if q.device.type == "cuda" else flex_attention
    return run(q, k, v, block_mask=mask.blocks[shape], enable_gqa=k.shape[1] != q.shape[1])


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
