"""The contract of every attention, and the projections that most of them share.

Shape letters, here and everywhere: B batch, T time, C `d_model`, H heads, D head width, V vocabulary.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frontpage.attention.parts.head_norm import HeadNorm
from frontpage.attention.parts.rotary import Rotary


class SelfAttention(nn.Module, ABC):
    """The contract: `(B, T, C) -> (B, T, C)`, causal, documents apart, with a cache for generation.

    `layer` counts the net's layers from 0. `n_kv_head` keys and values are shared by groups of heads (null: `n_head`).
    `dropout` drops attention weights (not the output). `backend` names the computation, `auto` or one of `backends`;
    all give the same result. A subclass adds `out`, the linear layer that writes to the residual stream, and
    `head_width`. Raises ValueError where `n_head` does not divide the width, `n_kv_head` does not divide `n_head`,
    `dropout` is no share or `backend` is not offered.
    """

    backends: ClassVar[tuple[str, ...]] = ("sdpa",)
    out: nn.Linear
    head_width: int

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        layer: int = 0,
        n_kv_head: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: bool = False,
        rotary_base: float = 10_000.0,
        qk_norm: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        if d_model % n_head:
            raise ValueError(f"n_head={n_head}: must divide d_model={d_model}")
        if n_kv_head < 1 or n_head % n_kv_head:
            raise ValueError(f"n_kv_head={n_kv_head}: must divide n_head={n_head}")
        if not 0 <= dropout < 1:
            raise ValueError(f"attention_dropout={dropout}: a share from 0, below 1")
        if backend not in ("auto", *self.backends):
            raise ValueError(f"backend={backend}: one of auto {' '.join(self.backends)}")
        self.n_head, self.n_kv_head, self.dropout, self.backend = n_head, n_kv_head, dropout, backend

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        *,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); a token sees earlier tokens of its own document only.

        `document_ids` (B, T) tells documents apart (None: one document a row), `positions` (B, T) or (T,) count inside
        them (None: from 0, or from the cache's end). With `cache` the T tokens continue those that it holds; a cache
        holds one document a row, so `document_ids` cannot go with it (ValueError).
        """

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty cache; `len()` of it counts the tokens that it has seen."""

    @abstractmethod
    def cache_numbers(self, length: int) -> int:
        """How many numbers the cache keeps for each row after `length` tokens."""

    @abstractmethod
    def visible(self, length: int) -> Tensor:
        """(H or 1, length, length), True where the row's query may see the column's key; of one document."""

    def visible_pairs(self, length: int) -> float:
        """Pairs of a query and a key that it may see, the mean over heads, in one document of `length` tokens.

        A plan asks for it, so a variant counts without the square that `visible` is.
        """
        seen = self.visible(length)
        return float(seen.sum()) / len(seen)

    def route(self, length: int, device: torch.device, *, documents: bool = False, training: bool = True) -> str:
        """The backend that computes `length` tokens there; ValueError where the one that was asked for cannot.

        `documents`: with several documents a row. `training`: with a gradient.
        """
        context = {"device": device, "documents": documents, "training": training}
        if self.backend == "auto":
            return self.fastest(length, **context)
        why_not = self.refusal(self.backend, **context)
        if why_not:
            others = [name for name in self.backends if not self.refusal(name, **context)]
            raise ValueError(f"backend={self.backend}: {why_not}; allowed here: auto {' '.join(others)}")
        return self.backend

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """What `auto` takes, one of those that are not refused."""
        return next(name for name in self.backends if not self.refusal(name, device, documents, training))

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """What keeps a backend from computing this, or None."""
        return None

    def mixing_flops(self, length: int) -> float:
        """Operations a token of the forward pass between projections, the mean over `length` tokens of one document.

        Here those of scores and their use for the pairs that are visible; masked ones that a kernel computes are not
        counted.
        """
        return 4 * self.n_head * self.head_width * self.visible_pairs(length) / length


class ProjectedAttention(SelfAttention):
    """Queries, keys and values by one linear layer, rotary positions, QK-norm; a variant says how they `attend`.

    The heads are `d_inner` wide together (null: `d_model`).
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        d_inner: int | None = None,
        bias: bool = True,
        rotary: bool = False,
        rotary_base: float = 10_000.0,
        qk_norm: bool = False,
        **contract: Any,
    ) -> None:
        if d_inner is not None and (d_inner < 1 or d_inner % n_head):
            raise ValueError(f"d_inner={d_inner}: must be a multiple of n_head={n_head}")
        super().__init__(d_inner or d_model, n_head, block_size, **contract)
        self.head_width = (d_inner or d_model) // n_head
        self.qkv = nn.Linear(d_model, (n_head + 2 * self.n_kv_head) * self.head_width, bias=bias)
        self.out = nn.Linear(n_head * self.head_width, d_model, bias=bias)
        self.rotary = Rotary(self.head_width, block_size, rotary_base) if rotary else None
        self.query_norm = HeadNorm(self.head_width) if qk_norm else None
        self.key_norm = HeadNorm(self.head_width) if qk_norm else None

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """Mix values: q (B, H, T, D), k and v (B, Hkv, T, D) of the tokens in `x` (B, T, C) -> (B, H, T, D).

        With `cache` the new keys and values go into it, and queries see what it holds.
        """

    def forward(
        self,
        x: Tensor,
        *,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), see SelfAttention."""
        refuse_documents_in_a_cache(document_ids, cache)
        batch, time, _ = x.shape
        q, k, v = self.qkv(x).split([n * self.head_width for n in (self.n_head, self.n_kv_head, self.n_kv_head)], -1)
        q = q.view(batch, time, self.n_head, self.head_width).transpose(1, 2)  # (B, H, T, D)
        k = k.view(batch, time, self.n_kv_head, self.head_width).transpose(1, 2)
        v = v.view(batch, time, self.n_kv_head, self.head_width).transpose(1, 2)
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            positions = places(time, cache, x.device) if positions is None else positions
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        y = self.attend(q, k, v, x=x, document_ids=document_ids, cache=cache)
        return self.out(y.transpose(1, 2).reshape(batch, time, self.n_head * self.head_width))


def triangle(length: int) -> int:
    """Pairs of a query and a key up to it."""
    return length * (length + 1) // 2


def refuse_documents_in_a_cache(document_ids: Tensor | None, cache: Any) -> None:
    """Raise ValueError for both at once."""
    if cache is not None and document_ids is not None:
        raise ValueError("a cache holds one document a row: give it no document_ids")


def places(time: int, cache: Any, device: torch.device) -> Tensor:
    """(time,) positions of the next tokens: from 0, or from the cache's end."""
    seen = len(cache) if cache is not None else 0
    return torch.arange(seen, seen + time, device=device)
