"""Attention over the pairs that a pattern shows: `causal`, `local`, `strided`, `fixed`, `sliding_window`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontpage.attention.kernels import executors
from frontpage.attention.parts.base import ProjectedAttention, places
from frontpage.attention.parts.cache import KeyValueCache
from frontpage.attention.parts.documents import once, places_in_documents, same_document

LEAST_FLEX_WIDTH = 16  # of a head, for FlexAttention's CUDA kernel
PAIRS_AT_ONCE = 2**22  # of a query and a key, where a square is looked at in parts
FLEX_LENGTH = 1024  # tokens from which whole blocks of 128 x 128 fall out of a pattern; not measured yet


@dataclass(frozen=True)
class Pattern(ABC):
    """Which keys a query sees: a pure function of their places inside the document, causal, and true of itself."""

    relative: ClassVar[bool] = False  # depends on the distance alone

    @abstractmethod
    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where the query at place `query` sees the key at place `key`; the two broadcast."""

    def pairs(self, length: int) -> int:
        """How many pairs of the first `length` places it shows, without a square of them in memory.

        A relative pattern is asked once a distance; another one row by row, unless it knows better.
        """
        places = torch.arange(length)
        if self.relative:
            return int(((length - places) * self(places, torch.zeros_like(places))).sum())
        return sum(int(self(rows, places).sum()) for rows in _rows(places))

    def reshapes(self, documents: bool) -> bool:
        """Whether `reshaped` computes this, with several documents a row or without; False without such a form."""
        return False

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """Whether `reshaped` was measured to be faster on CPU than a mask (scripts/benchmark_attention.py)."""
        return False

    def reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """The same attention computed on less than all pairs: (B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D)."""
        raise ValueError(f"backend=reshape: {self} has no such form")


@dataclass(frozen=True)
class Causal(Pattern):
    """Every key up to the query."""

    relative: ClassVar[bool] = True

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where key <= query."""
        return key <= query


class PatternAttention(ProjectedAttention):
    """Softmax attention over the pairs that a head's pattern shows; a variant gives its `patterns` to the constructor.

    The patterns share the heads in equal runs. Raises ValueError where they cannot.
    """

    backends = ("sdpa", "math", "flex", "reshape")

    def __init__(
        self, d_model: int, n_head: int, block_size: int, *, patterns: Sequence[Pattern], **shared: Any
    ) -> None:
        super().__init__(d_model, n_head, block_size, **shared)
        if n_head % len(patterns):
            raise ValueError(f"n_head={n_head}: must be a multiple of {len(patterns)}, the heads' different patterns")
        self.patterns, self._flex_mask = tuple(patterns), executors.FlexMask(patterns, n_head)
        for index, pattern in enumerate(self.patterns):
            square = torch.empty(block_size, block_size, dtype=torch.bool)
            if not square.is_meta:  # there only sizes are asked for
                places = torch.arange(block_size)
                for rows in _rows(places):
                    square[rows[:, 0]] = pattern(rows, places)
            self.register_buffer(f"mask_{index}", square, persistent=False)  # (block_size, block_size)

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """Reshape where it is faster, else SDPA with a mask; on CUDA FlexAttention for long patterns with gaps."""
        if all(pattern.reshapes_faster(length, documents) for pattern in self.patterns):
            return "reshape"
        dense = self.patterns == (Causal(),) and not documents
        gaps = device.type == "cuda" and length >= FLEX_LENGTH and not dense and "flex" in self.backends
        return "flex" if gaps and not self.refusal("flex", device, documents, training) else "sdpa"

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """FlexAttention trains on accelerators only and has no dropout; not every pattern can be reshaped."""
        if backend == "reshape" and not all(pattern.reshapes(documents) for pattern in self.patterns):
            return "not for several documents a row"
        if backend == "flex" and device.type == "cpu" and training:
            return "no backward pass on CPU"
        if backend == "flex" and self.dropout and training:
            return f"no dropout, and attention_dropout={self.dropout}"
        if backend == "flex" and device.type == "cuda" and self.head_width < LEAST_FLEX_WIDTH:
            return f"a head is {self.head_width} wide, at least {LEAST_FLEX_WIDTH} is needed"
        return None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D)."""
        if cache is not None:
            queries = places(q.shape[2], cache, q.device)[:, None]
            k, v, keys = cache.append(k, v)
            return self.mix_heads(q, k, v, [{"mask": pattern(queries, keys)} for pattern in self.patterns])
        training = torch.is_grad_enabled() and q.requires_grad
        path = self.route(q.shape[2], q.device, documents=document_ids is not None, training=training)
        if path == "flex":
            return executors.flex(q, k, v, self._flex(document_ids))
        if path == "reshape":
            return self.reshape_heads(q, k, v, document_ids, self.dropout if self.training else 0.0)
        views = [self._view(index, q.shape[2], document_ids, q.device) for index in range(len(self.patterns))]
        return self.mix_heads(q, k, v, views, executors.math if path == "math" else executors.sdpa)

    def mix_heads(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        views: Sequence[dict[str, Any]],
        run: Callable[..., Tensor] = executors.sdpa,
    ) -> Tensor:
        """Each share of the heads by itself: a mask for all heads at once would be as many times larger."""
        dropout = self.dropout if self.training else 0.0
        masks = [view["mask"] for view in views if "mask" in view]
        if len(masks) == len(views) > 1 and all(mask.dim() == 2 for mask in masks):  # small: one call is faster
            views = [{"mask": torch.stack(masks).repeat_interleave(self.n_head // len(views), dim=0)[None]}]
        if len(views) == 1:
            return run(q, k, v, dropout=dropout, **views[0])
        return torch.cat([run(*part, dropout=dropout, **view) for part, view in self._shares(q, k, v, views)], dim=1)

    def reshape_heads(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """Each pattern's own form for its share of the heads: as `mix_heads`."""
        shares = self._shares(q, k, v, self.patterns)
        mixed = [pattern.reshaped(*part, document_ids, dropout) for part, pattern in shares]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)

    def _shares(self, q: Tensor, k: Tensor, v: Tensor, of: Sequence[Any]) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
        """An equal run of the heads, and the keys and values that they share, for each element."""
        if self.n_kv_head % len(of):
            k, v = executors.repeat_heads(k, self.n_head), executors.repeat_heads(v, self.n_head)
        return zip(zip(*(part.chunk(len(of), dim=1) for part in (q, k, v)), strict=True), of, strict=True)

    def new_cache(self) -> KeyValueCache:
        """An empty cache; here of all keys and values."""
        return KeyValueCache()

    def cache_numbers(self, length: int) -> int:
        """Keys and values of the tokens that the cache keeps after `length`."""
        return 2 * self.n_kv_head * self.head_width * self.new_cache().tokens_kept(length)

    def visible_pairs(self, length: int) -> float:
        """Pairs of a query and a key that it may see, the mean over heads: in memory and time below length²."""
        return sum(pattern.pairs(length) for pattern in self.patterns) / len(self.patterns)

    def visible(self, length: int) -> Tensor:
        """(H, length, length), True where the row's query sees the column's key."""
        masks = [pattern(*_square(length, torch.device("cpu"))) for pattern in self.patterns]
        return torch.stack(masks).repeat_interleave(self.n_head // len(masks), dim=0)

    def _view(self, index: int, length: int, document_ids: Tensor | None, device: torch.device) -> dict[str, Any]:
        """What a share of the heads sees: `causal`, or a mask (T, T), with documents (B, 1, T, T)."""
        pattern = self.patterns[index]
        if document_ids is None and isinstance(pattern, Causal):
            return {"causal": True}
        square = getattr(self, f"mask_{index}")[:length, :length]
        if len(square) < length:  # longer than the block
            square = pattern(*_square(length, device))
        if document_ids is None:
            return {"mask": square}
        return {"mask": once(document_ids, ("mask", pattern), lambda: _inside_documents(pattern, square, document_ids))}

    def _flex(self, document_ids: Tensor | None) -> executors.FlexMask:
        if document_ids is None:
            return self._flex_mask
        return once(document_ids, ("flex", self.patterns, self.n_head), lambda: self._flex_of_documents(document_ids))

    def _flex_of_documents(self, document_ids: Tensor) -> executors.FlexMask:
        documents = document_ids.clone(), places_in_documents(document_ids)
        return executors.FlexMask(self.patterns, self.n_head, documents)


def _rows(places: Tensor) -> tuple[Tensor, ...]:
    """The places of queries (rows, 1), so few at a time that their pairs take some tens of megabytes."""
    return places[:, None].split(max(PAIRS_AT_ONCE // len(places), 1))


def _square(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of queries (length, 1) and keys (length,)."""
    return torch.arange(length, device=device)[:, None], torch.arange(length, device=device)


def _inside_documents(pattern: Pattern, square: Tensor, document_ids: Tensor) -> Tensor:
    """(B, 1, T, T): the pattern counted from each document's beginning."""
    if pattern.relative:
        return same_document(document_ids) & square
    places_inside = places_in_documents(document_ids)
    inside = pattern(places_inside[:, None, :, None], places_inside[:, None, None, :])
    return same_document(document_ids) & inside
