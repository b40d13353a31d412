"""FlexAttention over patterns: blocks of pairs that nobody sees are passed over."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 128  # queries, and keys, of a block: FlexAttention's own default


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
        self.blocks: dict[tuple[Any, ...], object] = {}

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
    from torch.nn.attention.flex_attention import flex_attention

    batch, heads = q.shape[0] if mask.ids is not None else 1, q.shape[1] if len(mask.patterns) > 1 else 1
    shape = (batch, heads, q.shape[2], k.shape[2])
    key = *shape, q.device, torch.is_inference_mode_enabled()  # what inference made cannot be saved for a gradient
    if key not in mask.blocks:
        mask.blocks[key] = block_mask(mask, *shape, q.device)
    run = _compiled_flex() if q.device.type == "cuda" else flex_attention
    return run(q, k, v, block_mask=mask.blocks[key], enable_gqa=k.shape[1] != q.shape[1])


def block_mask(mask: FlexMask, batch: int, heads: int, queries: int, keys: int, device: torch.device) -> Any:
    """What PyTorch's `create_block_mask` gives, one block of queries after the other.

    Its own fills a tensor of every query and key first, for each batch of documents again; compiled it does not, but is
    compiled anew for each batch.
    """
    from torch.nn.attention.flex_attention import BlockMask

    row, head, key = (torch.arange(size, device=device) for size in (batch, heads, keys))
    pairs = []
    for query in torch.arange(queries, device=device).split(BLOCK):
        seen = mask(row[:, None, None, None], head[:, None, None], query[:, None], key)
        seen = F.pad(seen.expand(batch, heads, -1, -1), (0, -keys % BLOCK))
        pairs.append(seen.unflatten(-1, (-1, BLOCK)).sum((-3, -1)))  # (B, H, blocks of keys)
    seen = torch.stack(pairs, dim=2)
    parts = [part for kind in ((seen > 0) & (seen < BLOCK**2), seen == BLOCK**2) for part in _ordered(kind)]
    return BlockMask.from_kv_blocks(*parts, BLOCK_SIZE=BLOCK, mask_mod=mask, seq_lengths=(queries, keys))


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, and which, these first: int32."""
    return blocks.sum(-1).int(), blocks.int().argsort(dim=-1, descending=True, stable=True).int()


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
