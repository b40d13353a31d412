"""FlexAttention over patterns: blocks of pairs that nobody sees are passed over."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


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
