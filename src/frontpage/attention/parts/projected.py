"""The projections that most attentions share: queries, keys and values, turned and normalised, and the way back."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from frontpage.attention.parts.contract import SelfAttention, places
from frontpage.attention.parts.head_addition import HeadAddition
from frontpage.attention.parts.head_norm import HeadNorm
from frontpage.attention.parts.rotary import Rotary


class ProjectedAttention(SelfAttention):
    """Linear queries, keys and values, `d_inner` wide together (null: `d_model`); a variant says how they `attend`."""

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
        self.part_widths = [heads * self.head_width for heads in (n_head, self.n_kv_head, self.n_kv_head)]  # of q, k, v
        self.qkv = nn.Linear(d_model, sum(self.part_widths), bias=bias)
        self.out = nn.Linear(n_head * self.head_width, d_model, bias=bias)
        self.rotary = Rotary(self.head_width, block_size, rotary_base) if rotary else None
        self.query_norm = HeadNorm(self.head_width) if qk_norm else None
        self.key_norm = HeadNorm(self.head_width) if qk_norm else None
        self.additions = nn.ModuleDict()

    def add(self, name: str, part: HeadAddition) -> None:
        """Let heads do more, in the order in which parts are added."""
        self.additions[name] = part

    def matrices(self) -> dict[str, Tensor]:
        """Those of every linear layer, `qkv` as `query`, `key` and `value`."""
        found = super().matrices()
        return dict(zip(("query", "key", "value"), found.pop("qkv").split(self.part_widths), strict=True)) | found

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
        first: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), see SelfAttention; `first` are the embedded tokens (B, T, C), for `additions`."""
        if cache is not None and document_ids is not None:
            raise ValueError("a cache holds one document a row: give it no document_ids")
        batch, time, _ = x.shape
        q, k, v = self.qkv(x).split(self.part_widths, dim=-1)
        q = q.view(batch, time, self.n_head, self.head_width).transpose(1, 2)  # (B, H, T, D)
        k, v = (part.view(batch, time, self.n_kv_head, self.head_width).transpose(1, 2) for part in (k, v))
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            positions = places(time, cache, x.device) if positions is None else positions
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        for part in self.additions.values():
            k, v = part.keys(k, document_ids, cache), part.values(v, x, first)
        y = self.attend(q, k, v, x=x, document_ids=document_ids, cache=cache)
        for part in self.additions.values():
            y = part.mixed(y, v, x)
        return self.out(y.transpose(1, 2).reshape(batch, time, self.n_head * self.head_width))
