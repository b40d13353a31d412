"""Attention over the pairs that a pattern shows: `causal`, `local`, `strided`, `fixed`, `sliding_window`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.parts.cache import KeyValueCache
from frontpage.attention.parts.contract import places
from frontpage.attention.parts.projected import ProjectedAttention


@dataclass(frozen=True)
class Pattern(ABC):
    """Which keys a query sees: a pure function of their places inside the document, causal, and true of itself."""

    relative: ClassVar[bool] = False  # depends on the distance alone
    form: ClassVar[str | None] = None  # a form with fewer pairs to compute, by its name in kernels/

    @abstractmethod
    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where the query at place `query` sees the key at place `key`; the two broadcast."""

    def pairs(self, length: int) -> int:
        """How many pairs of the first `length` places it shows, counted without a square of them in memory."""
        place = torch.arange(length)
        if self.relative:
            return int(((length - place) * self(place, torch.zeros_like(place))).sum())
        return sum(int(self(query, place).sum()) for query in place)


class PatternAttention(ProjectedAttention):
    """Softmax attention over the pairs that a head's pattern shows; a variant gives its `patterns` to the constructor.

    The patterns share the heads in equal runs; ValueError where they cannot. By itself it computes all pairs and masks
    those that are not shown; `paths` that compute fewer come from kernels/pattern_paths.py.
    """

    backends = ("sdpa", "math", "flex", "reshape", "cpp", "chunk")

    def __init__(
        self, d_model: int, n_head: int, block_size: int, *, patterns: Sequence[Pattern], **shared: Any
    ) -> None:
        super().__init__(d_model, n_head, block_size, **shared)
        if n_head % len(patterns):
            raise ValueError(f"n_head={n_head}: must be a multiple of {len(patterns)}, the heads' different patterns")
        self.patterns = tuple(patterns)
        self.paths: Callable[..., Tensor] | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D)."""
        if cache is None and self.paths is not None:
            return self.mix_heads(q, k, v, partial(self.paths, document_ids=document_ids))
        if cache is None:
            mask = self.visible(q.shape[2], document_ids, q.device)
        else:
            queries = places(q.shape[2], cache, q.device)[:, None]
            k, v, keys = cache.append(k, v)
            mask = self.of_heads([pattern(queries, keys) for pattern in self.patterns])
        dropout = self.dropout if self.training else 0.0
        masked = partial(F.scaled_dot_product_attention, attn_mask=mask, dropout_p=dropout, enable_gqa=True)
        return self.mix_heads(q, k, v, masked)

    def mix_heads(self, q: Tensor, k: Tensor, v: Tensor, mix: Callable[..., Tensor]) -> Tensor:
        """What heads make of `mix(q, k, v)`, softmax attention under their patterns; here just that."""
        return mix(q, k, v)

    def new_cache(self) -> KeyValueCache:
        """An empty cache; here of all keys and values."""
        return KeyValueCache()

    def cache_numbers(self, length: int) -> int:
        """Keys and values of the tokens that the cache keeps after `length`."""
        return 2 * self.n_kv_head * self.head_width * self.new_cache().tokens_kept(length)

    def visible_pairs(self, length: int) -> float:
        """Pairs that are shown, the mean over heads."""
        return sum(pattern.pairs(length) for pattern in self.patterns) / len(self.patterns)

    def visible(self, length: int, document_ids: Tensor | None = None, device: torch.device | None = None) -> Tensor:
        """(H, T, T), True where the row's query sees the column's key; (B, H, T, T) with `document_ids` (B, T)."""
        if document_ids is None:
            place = torch.arange(length, device=device)
            return self.of_heads([pattern(place[:, None], place) for pattern in self.patterns])
        runs = document_ids.diff(dim=1, prepend=document_ids[:, :1]).ne(0).cumsum(1)  # documents are runs of equal ids
        same = (runs[:, :, None] == runs[:, None]).tril()
        inside = same.sum(-1) - 1  # (B, T): earlier tokens of the same document
        return self.of_heads([pattern(inside[:, :, None], inside[:, None]) & same for pattern in self.patterns])

    def of_heads(self, masks: Sequence[Tensor]) -> Tensor:
        """A mask (..., T, S) for each pattern -> (..., H, T, S)."""
        return torch.stack(list(masks), dim=-3).repeat_interleave(self.n_head // len(masks), dim=-3)
