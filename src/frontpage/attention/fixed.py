"""Fixed attention: own block and summary columns of earlier ones (Child et al. 2019, arXiv 1904.10509)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.kernels.executors import repeat_heads
from frontpage.attention.local import attend_in_blocks, in_blocks
from frontpage.attention.parts.base import triangle
from frontpage.attention.parts.pattern import Pattern, PatternAttention

RUNS = 4  # of blocks, each computed at once: its last block says how many summaries all of it meets


@dataclass(frozen=True)
class Fixed(Pattern):
    """The query's own block of `block` keys, and the `summary` columns of every earlier block that end `offset` early.

    >>> from frontpage.attention.parts.picture import picture
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

    def pairs(self, length: int) -> int:
        """Those of each block with itself, and the summaries of the blocks before it."""
        blocks, rest = divmod(length, self.block)
        own = blocks * triangle(self.block) + triangle(rest)
        return own + self.summary * (self.block * triangle(blocks - 1) + rest * blocks)

    def reshapes(self, documents: bool) -> bool:
        """For one document a row: blocks are counted from the document's beginning."""
        return not documents

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """Where a block's queries meet at most two fifths of all keys."""
        blocks = -(-length // self.block)
        return not documents and 5 * (self.block + (blocks - 1) * self.summary) <= 2 * length

    def summaries(self, x: Tensor) -> Tensor:
        """The columns of all blocks but the last: (B, H, blocks, block, D) -> (B, H, columns, D)."""
        end = self.block - self.offset
        return x[:, :, :-1, end - self.summary : end].flatten(2, 3)


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

    def reshape_heads(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T (block + T summary / block)); all groups at once.

        They see the same places among the summaries and the own block, only of other columns.
        """
        first, groups = self.patterns[0], len(self.patterns)
        if k.shape[1] % groups:
            k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        time = q.shape[2]
        q, k, v = (in_blocks(part, first.block) for part in (q, k, v))  # (B, H, blocks, block, D)
        columns, mixed, begin = [self._summaries(part) for part in (k, v)], [], 0
        run = -(-q.shape[2] // RUNS)
        for own in zip(*(part.split(run, dim=2) for part in (q, k, v)), strict=True):
            end = begin + own[0].shape[2]
            seen = [
                _beside(part[:, :, : (end - 1) * first.summary], x) for part, x in zip(columns, own[1:], strict=True)
            ]
            sight = _sight(begin, end, first.block, first.summary, q.device)
            mixed.append(attend_in_blocks(own[0], *seen, sight, dropout))
            begin = end
        return torch.cat(mixed, dim=2)[:, :, :time]

    def _summaries(self, x: Tensor) -> Tensor:
        """(B, H, blocks, block, D) -> (B, H, columns, D), each group of heads with its own columns."""
        shares = zip(self.patterns, x.chunk(len(self.patterns), dim=1), strict=True)
        return torch.cat([pattern.summaries(part) for pattern, part in shares], dim=1)


def _beside(columns: Tensor, x: Tensor) -> Tensor:
    """(B, H, columns, D), (B, H, blocks, block, D) -> (B, H, blocks, columns + block, D)."""
    return torch.cat((columns[:, :, None].expand(-1, -1, x.shape[2], -1, -1), x), dim=3)


def _sight(begin: int, end: int, block: int, summary: int, device: torch.device) -> Tensor:
    """(end - begin, block, columns + block): the columns of earlier blocks, and the own block up to the query."""
    places = torch.arange(end, device=device)
    of = places[:-1].repeat_interleave(summary)  # the block that a column is of
    earlier = (of < places[begin:, None])[:, None].expand(-1, block, -1)
    own = torch.ones(block, block, dtype=torch.bool, device=device).tril().expand(end - begin, -1, -1)
    return torch.cat((earlier, own), dim=2)
