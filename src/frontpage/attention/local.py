"""Local attention: a sliding window (Child et al. 2019, arXiv 1904.10509; window convention of their code)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.cache import KeyValueCache
from frontpage.attention.documents import once
from frontpage.attention.executors import sdpa
from frontpage.attention.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class Local(Pattern):
    """The last `window` keys, the query's own among them.

    >>> from frontpage.attention.picture import picture
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
        """Always: blocks of `window` queries over their own block of keys and the one before."""
        return True

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """From twice as many tokens as a query's block sees keys."""
        return length >= 4 * self.window

    def reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T window) instead of O(T^2)."""
        batch, _, time, _ = q.shape
        wide, blocks = self.window, -(-time // self.window)
        q, k, v = (_blocks(part, wide, blocks) for part in (q, k, v))  # (B, blocks, H, window, D)
        mask = self._mask(batch, blocks, document_ids, q.device)
        k, v = (_with_the_block_before(part).flatten(0, 1) for part in (k, v))
        y = sdpa(q.flatten(0, 1), k, v, mask=mask, dropout=dropout)
        y = y.unflatten(0, (batch, blocks)).transpose(1, 2)  # (B, H, blocks, window, D)
        return y.flatten(2, 3)[:, :, :time]

    def _mask(self, batch: int, blocks: int, document_ids: Tensor | None, device: torch.device) -> Tensor:
        """(B * blocks, 1, window, 2 * window): the first block has none before it."""

        def build() -> Tensor:
            query = torch.arange(self.window, 2 * self.window, device=device)[:, None]
            seen = self(query, torch.arange(2 * self.window, device=device)).repeat(blocks, 1, 1)
            seen[0, :, : self.window] = False
            if document_ids is None:
                return seen.repeat(batch, 1, 1)[:, None]
            ids = F.pad(document_ids, (0, blocks * self.window - document_ids.shape[1]), mode="constant", value=-1)
            ids = ids.view(batch, blocks, self.window)
            keys = torch.cat((F.pad(ids, (0, 0, 1, 0))[:, :-1], ids), dim=2)
            return ((ids[..., None] == keys[:, :, None]) & seen).flatten(0, 1)[:, None]

        return build() if document_ids is None else once(document_ids, ("blocks", self), build)


def _blocks(x: Tensor, wide: int, blocks: int) -> Tensor:
    """(B, H, T, D) -> (B, blocks, H, wide, D), filled up with zeros."""
    if x.shape[2] < blocks * wide:
        x = F.pad(x, (0, 0, 0, blocks * wide - x.shape[2]))
    return x.unflatten(2, (blocks, wide)).transpose(1, 2)


def _with_the_block_before(x: Tensor) -> Tensor:
    """(B, blocks, H, wide, D) -> (B, blocks, H, 2 wide, D); zeros before the first."""
    return torch.cat((F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1], x), dim=3)


class LocalAttention(PatternAttention):
    """Every head sees the last `window` tokens; the cache keeps no more."""

    def __init__(self, d_model: int, n_head: int, block_size: int, *, window: int, **shared: Any) -> None:
        if window < 1:
            raise ValueError(f"window={window}: at least 1")
        super().__init__(d_model, n_head, block_size, patterns=[Local(window)], **shared)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of a window."""
        return KeyValueCache(window=self.patterns[0].window)
