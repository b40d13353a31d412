"""The contract of every attention. Shapes: B batch, T time, C `d_model`, H heads, D head width, V vocabulary."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frontpage.attention.parts.head_addition import HeadAddition


class SelfAttention(nn.Module, ABC):
    """`(B, T, C) -> (B, T, C)`, causal, documents apart, with a cache for generation.

    `layer` counts the net's layers from 0. `n_kv_head` keys and values are shared by groups of heads (null: `n_head`).
    `dropout` drops attention weights (not the output). `backend` names the computation, `auto` or one of `backends`;
    all give the same result, and kernels/routes.py says which one runs. A subclass adds `out`, the linear layer that
    writes to the residual stream, and `head_width`. Raises ValueError where `n_head` does not divide the width,
    `n_kv_head` does not divide `n_head`, `dropout` is no share or `backend` is not offered.
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
        dropout: float = 0.0,
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
        self.n_head, self.n_kv_head, self.block_size = n_head, n_kv_head, block_size
        self.dropout, self.backend = dropout, backend

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        *,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Any = None,
        first: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); a token sees earlier tokens of its own document only.

        `document_ids` (B, T) tells documents apart (None: one document a row), `positions` (B, T) or (T,) count inside
        them (None: from 0, or from the cache's end). With `cache` the T tokens continue those that it holds; a cache
        holds one document a row, so `document_ids` cannot go with it (ValueError). `first` are the embedded tokens
        (B, T, C), given where something is added to the net.
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

    def add(self, name: str, part: HeadAddition) -> None:
        """Let heads do more; where a variant has none to add to, ValueError."""
        raise ValueError(f"attention={type(self).__name__}: its heads take no addition such as {name}")

    def matrices(self) -> dict[str, Tensor]:
        """Weights of its linear layers by what they make, rows of a fused one apart; `value` and `out` are among them.

        Values are what is mixed; so an initialisation can tell them from queries and keys.
        """
        return {name: layer.weight for name, layer in self.named_modules() if isinstance(layer, nn.Linear)}

    def visible_pairs(self, length: int) -> float:
        """Pairs of a query and a key that it may see in one document, the mean over heads; here all up to the query."""
        return length * (length + 1) / 2

    def mixing_flops(self, length: int) -> float:
        """Operations a token of the forward pass between projections, for visible pairs; the mean over a document."""
        return 4 * self.n_head * self.head_width * self.visible_pairs(length) / length


def places(time: int, cache: Any, device: torch.device) -> Tensor:
    """(time,) positions of the next tokens: from 0, or from the cache's end."""
    seen = len(cache) if cache is not None else 0
    return torch.arange(seen, seen + time, device=device)
