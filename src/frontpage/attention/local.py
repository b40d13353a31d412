"""Local attention: a sliding window (Child et al. 2019, arXiv 1904.10509; window convention of their code)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.kernels.executors import in_tiles, repeat_heads
from frontpage.attention.parts.cache import KeyValueCache
from frontpage.attention.parts.documents import once
from frontpage.attention.parts.pattern import Pattern, PatternAttention

LEAST_BLOCK = 32


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

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where 0 <= query - key < window."""
        return (key <= query) & (query - key < self.window)

    def reshapes(self, documents: bool) -> bool:
        """Always: blocks of queries over their own block of keys and a window before it."""
        return True

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """Where a block's queries meet less than half of the keys."""
        return length >= 2 * (self._block() + self.window)

    def reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T window) instead of O(T^2)."""
        batch, _, time, _ = q.shape
        q, k, v = (in_blocks(part, self._block()) for part in (q, k, v))  # (B, H, blocks, block, D)
        k, v = (self._with_the_window_before(part) for part in (k, v))
        if document_ids is None:
            return attend_in_blocks(q, k, v, self._sight(q.shape[2], q.device), dropout)[:, :, :time]
        mask = once(document_ids, ("blocks", self), lambda: self._sight_in_documents(document_ids, q.shape[2]))
        q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))  # blocks as rows: each has its own mask
        y = in_tiles(q, k, v, mask=mask.flatten(0, 1)[:, None], dropout=dropout)
        return y.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)[:, :, :time]

    def _block(self) -> int:
        """Queries that are computed together; few would leave the kernel idle."""
        return max(self.window, LEAST_BLOCK)

    def _with_the_window_before(self, x: Tensor) -> Tensor:
        """(B, H, blocks, block, D) -> (B, H, blocks, window + block, D); zeros before the first."""
        before = F.pad(x[:, :, :-1, x.shape[3] - self.window :], (0, 0, 0, 0, 1, 0))
        return torch.cat((before, x), dim=3)

    def _sight(self, blocks: int, device: torch.device) -> Tensor:
        """(blocks, block, window + block): the first block has none before it."""
        key = torch.arange(self.window + self._block(), device=device)
        seen = self(key[self.window :, None], key).repeat(blocks, 1, 1)
        seen[0, :, : self.window] = False
        return seen

    def _sight_in_documents(self, document_ids: Tensor, blocks: int) -> Tensor:
        """(B, blocks, block, window + block)."""
        block = self._block()
        ids = F.pad(document_ids, (0, blocks * block - document_ids.shape[1]), value=-1)
        keys = F.pad(ids, (self.window, 0)).unfold(1, self.window + block, block)  # (B, blocks, window + block)
        same = ids.view(len(ids), blocks, block, 1) == keys[:, :, None]
        return same & self._sight(blocks, document_ids.device)


def in_blocks(x: Tensor, block: int) -> Tensor:
    """(B, H, T, D) -> (B, H, blocks, block, D), filled up with zeros at the end."""
    rest = -x.shape[2] % block
    x = F.pad(x, (0, 0, 0, rest)) if rest else x  # to pad by nothing would copy
    return x.unflatten(2, (-1, block))


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, sight: Tensor, dropout: float) -> Tensor:
    """Blocks as heads of one call: (B, H, blocks, block, D), (B, Hkv, blocks, S, D) twice -> (B, H, T, D).

    `sight` (blocks, block, S) is what their queries see.
    """
    heads = q.shape[1]
    k, v = repeat_heads(k, heads), repeat_heads(v, heads)
    mask = sight.repeat(heads, 1, 1)[None]
    y = in_tiles(*(part.flatten(1, 2) for part in (q, k, v)), mask=mask, dropout=dropout)
    return y.unflatten(1, (heads, -1)).flatten(2, 3)


class LocalAttention(PatternAttention):
    """Every head sees the last `window` tokens; the cache keeps no more."""

    def __init__(self, d_model: int, n_head: int, block_size: int, *, window: int, **shared: Any) -> None:
        if window < 1:
            raise ValueError(f"window={window}: at least 1")
        super().__init__(d_model, n_head, block_size, patterns=[Local(window)], **shared)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of a window."""
        return KeyValueCache(window=self.patterns[0].window)
