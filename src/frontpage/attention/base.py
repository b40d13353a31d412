"""What all attentions share: projections, heads, rotary positions, QK-norm, grouped queries, the cache.

Shape letters, here and everywhere: B batch, T time, C `d_model`, H heads, D head width, V vocabulary.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from frontpage.attention.rotary import Rotary


class KeyValueCache:
    """Keys and values of the tokens seen so far in generation, each (B, H, seen, D)."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens and return those of all tokens."""
        if self.keys is not None:
            keys, values = torch.cat((self.keys, keys), dim=2), torch.cat((self.values, values), dim=2)
        self.keys, self.values = keys, values
        return keys, values


class SelfAttention(nn.Module, ABC):
    """The contract of every attention, `(B, T, C) -> (B, T, C)` and causal; a variant says how heads `attend`.

    `dropout` drops attention weights (not the output). Raises ValueError where `n_head` does not divide `d_model`,
    `n_kv_head` does not divide `n_head`, or `dropout` is no share.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        n_kv_head: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: bool = False,
        rotary_base: float = 10_000.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        if d_model % n_head:
            raise ValueError(f"n_head={n_head}: must divide d_model={d_model}")
        if n_kv_head < 1 or n_head % n_kv_head:
            raise ValueError(f"n_kv_head={n_kv_head}: must divide n_head={n_head}")
        if not 0 <= dropout < 1:
            raise ValueError(f"attention_dropout={dropout}: a share from 0, below 1")
        self.n_head, self.n_kv_head, self.head_width, self.dropout = n_head, n_kv_head, d_model // n_head, dropout
        self.qkv = nn.Linear(d_model, (n_head + 2 * n_kv_head) * self.head_width, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)
        self.rotary = Rotary(self.head_width, block_size, rotary_base) if rotary else None
        self.query_norm = nn.RMSNorm(self.head_width) if qk_norm else None
        self.key_norm = nn.RMSNorm(self.head_width) if qk_norm else None

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None) -> Tensor:
        """Mix values: q (B, H, T, D), k and v (B, Hkv, S, D) with S >= T the tokens up to now -> (B, H, T, D)."""

    def forward(
        self,
        x: Tensor,
        *,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); a token sees earlier tokens of its own document only.

        `document_ids` (B, T) tells documents apart (None: one document a row), `positions` (B, T) or (T,) count inside
        them (None: from 0, or from the cache's end). With `cache` the T tokens continue those that it holds; a cache
        holds one document a row, so `document_ids` cannot go with it (ValueError).
        """
        if cache is not None and document_ids is not None:
            raise ValueError("a cache holds one document a row: give it no document_ids")
        batch, time, width = x.shape
        q, k, v = self.qkv(x).split([n * self.head_width for n in (self.n_head, self.n_kv_head, self.n_kv_head)], -1)
        q = q.view(batch, time, self.n_head, self.head_width).transpose(1, 2)  # (B, H, T, D)
        k = k.view(batch, time, self.n_kv_head, self.head_width).transpose(1, 2)
        v = v.view(batch, time, self.n_kv_head, self.head_width).transpose(1, 2)
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            if positions is None:
                seen = len(cache) if cache is not None else 0
                positions = torch.arange(seen, seen + time, device=x.device)
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        if cache is not None:
            k, v = cache.append(k, v)
        y = self.attend(q, k, v, document_ids)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))
