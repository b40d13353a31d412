"""Fixed attention: own block and summary columns of earlier ones (Child et al. 2019, arXiv 1904.10509)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from frontpage.attention.parts.pairs import triangle
from frontpage.attention.parts.pattern import Pattern, PatternAttention


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
    form: ClassVar[str | None] = "summary_blocks"

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
