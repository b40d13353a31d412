"""Local attention: a sliding window (Child et al. 2019, arXiv 1904.10509; window convention of their code)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from frontpage.attention.parts.cache import KeyValueCache
from frontpage.attention.parts.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class Local(Pattern):
    """The last `window` keys, the query's own among them.

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Local(3), 8))
    #.......
    ##......
    ###.....
    .###....
    ..###...
    ...###..
    ....###.
    .....###
    """

    window: int
    relative: ClassVar[bool] = True
    form: ClassVar[str | None] = "band"

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where 0 <= query - key < window."""
        return (key <= query) & (query - key < self.window)


class LocalAttention(PatternAttention):
    """Every head sees the last `window` tokens; the cache keeps no more."""

    def __init__(self, d_model: int, n_head: int, block_size: int, *, window: int, **shared: Any) -> None:
        if window < 1:
            raise ValueError(f"window={window}: at least 1")
        super().__init__(d_model, n_head, block_size, patterns=[Local(window)], **shared)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of a window."""
        return KeyValueCache(window=self.patterns[0].window)
