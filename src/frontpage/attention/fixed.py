"""Fixed attention: own block and summary columns of earlier ones (Child et al. 2019, arXiv 1904.10509)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.executors import sdpa
from frontpage.attention.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class Fixed(Pattern):
    """The query's own block of `block` keys, and the `summary` columns of every earlier block that end `offset` early.

    >>> from frontpage.attention.picture import picture
    >>> print(picture(Fixed(block=4, summary=1, offset=1), 8))
    #.......
    ##......
    ###.....
    ####....
    ..#.#...
    ..#.##..
    ..#.###.
    ..#.####
    """

    block: int
    summary: int
    offset: int = 0

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True of the own block, and where block - offset - summary <= key mod block < block - offset."""
        column, end = key % self.block, self.block - self.offset
        stripe = (column >= end - self.summary) & (column < end)
        return (key <= query) & ((query // self.block == key // self.block) | stripe)

    def reshapes(self, documents: bool) -> bool:
        """For one document a row: blocks are counted from the document's beginning."""
        return not documents

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """Where a block's queries compute at most half of all pairs."""
        blocks = -(-length // self.block)
        return not documents and 2 * (self.block + (blocks - 1) * self.summary) <= length

    def reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T (block + T summary / block))."""
        if document_ids is not None:
            raise ValueError("backend=reshape: FixedAttention has no such form for several documents a row")
        batch, _, time, _ = q.shape
        blocks = -(-time // self.block)
        q, k, v = (self._blocks(part, blocks) for part in (q, k, v))  # (B, blocks, H, block, D)
        k, v = (self._with_summaries(part).flatten(0, 1) for part in (k, v))
        mask = self._mask(blocks, q.device).repeat(batch, 1, 1)[:, None]
        y = sdpa(q.flatten(0, 1), k, v, mask=mask, dropout=dropout)
        y = y.unflatten(0, (batch, blocks)).transpose(1, 2)  # (B, H, blocks, block, D)
        return y.flatten(2, 3)[:, :, :time]

    def _blocks(self, x: Tensor, blocks: int) -> Tensor:
        """(B, H, T, D) -> (B, blocks, H, block, D), filled up with zeros at the end."""
        x = F.pad(x, (0, 0, 0, blocks * self.block - x.shape[2]))
        return x.unflatten(2, (blocks, self.block)).transpose(1, 2)

    def _with_summaries(self, x: Tensor) -> Tensor:
        """(B, blocks, H, block, D) -> (B, blocks, H, summaries + block, D): with those of all blocks but the last."""
        end = self.block - self.offset
        summaries = x[:, :-1, :, end - self.summary : end].transpose(1, 2).flatten(2, 3)  # (B, H, summaries, D)
        return torch.cat((summaries[:, None].expand(-1, x.shape[1], -1, -1, -1), x), dim=3)

    def _mask(self, blocks: int, device: torch.device) -> Tensor:
        """(blocks, block, summaries + block): summaries of earlier blocks, and the own block up to the query."""
        block = torch.arange(blocks, device=device)
        of = block[:-1].repeat_interleave(self.summary)  # the block that a summary column is of
        earlier = (of < block[:, None])[:, None].expand(-1, self.block, -1)
        own = torch.ones(self.block, self.block, dtype=torch.bool, device=device).tril().expand(blocks, -1, -1)
        return torch.cat((earlier, own), dim=2)


class FixedAttention(PatternAttention):
    """Own block of `block` tokens and, of every earlier block, `summary` tokens near its end.

    The heads form `groups` that share out the summary columns: the first group takes the last `summary` tokens of each
    block, the next the ones before. Raises ValueError for the rule of the published patterns that sizes break.
    """

    def __init__(
        self, d_model: int, n_head: int, block_size: int, *, block: int, summary: int, groups: int, **shared: Any
    ) -> None:
        for name, size in (("block", block), ("summary", summary), ("groups", groups)):
            if size < 1:
                raise ValueError(f"{name}={size}: at least 1")
        if n_head % groups:
            raise ValueError(f"groups={groups}: must divide n_head={n_head}")
        if summary > block:
            raise ValueError(f"summary={summary}: at most block={block}, in tokens")
        if block % summary:
            raise ValueError(f"summary={summary}: must divide block={block}")
        if groups * summary > block:
            raise ValueError(
                f"groups={groups}: groups * summary = {groups * summary} tokens are more than block={block},"
                " so some heads would have no summary"
            )
        patterns = [Fixed(block, summary, group * summary) for group in range(groups)]
        super().__init__(d_model, n_head, block_size, patterns=patterns, **shared)
