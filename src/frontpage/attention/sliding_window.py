"""Sliding window with sink tokens (Xiao et al. 2023, "StreamingLLM", arXiv 2309.17453)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from frontpage.attention.parts.cache import KeyValueCache
from frontpage.attention.parts.pairs import triangle
from frontpage.attention.parts.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class SlidingWindow(Pattern):
    """The last `window` keys, the query's own among them, and the first `sinks` of the document.

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(SlidingWindow(window=3, sinks=1), 8))
    #.......
    ##......
    ###.....
    ####....
    #.###...
    #..###..
    #...###.
    #....###
    """

    window: int
    sinks: int

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where query - key < window or key < sinks, and key <= query."""
        return (key <= query) & ((query - key < self.window) | (key < self.sinks))

    def pairs(self, length: int) -> int:
        """All up to the query but those behind the sinks and before the window."""
        return triangle(length) - triangle(max(length - self.window - self.sinks, 0))


class SlidingWindowAttention(PatternAttention):
    """Every head sees the last `window` tokens and the document's first `sinks`; the cache keeps no more."""

    backends = ("sdpa", "math", "flex", "cpp", "chunk")

    def __init__(self, d_model: int, n_head: int, block_size: int, *, window: int, sinks: int, **shared: Any) -> None:
        if window < 1:
            raise ValueError(f"window={window}: at least 1")
        if sinks < 0:
            raise ValueError(f"sinks={sinks}: at least 0")
        super().__init__(d_model, n_head, block_size, patterns=[SlidingWindow(window, sinks)], **shared)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of a window and the sinks."""
        pattern = self.patterns[0]
        return KeyValueCache(pattern.window, pattern.sinks)
