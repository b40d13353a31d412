"""Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", arXiv 2405.04434)."""

from typing import Any

import torch
from torch import Tensor, nn

from frontpage.attention.causal import Causal
from frontpage.attention.kernels.executors import sdpa
from frontpage.attention.kernels.routes import Routed
from frontpage.attention.parts.contract import SelfAttention, places
from frontpage.attention.parts.documents import once, same_document
from frontpage.attention.parts.head_norm import HeadNorm
from frontpage.attention.parts.rotary import Rotary
from frontpage.attention.parts.softmax import softmax_attention


class LatentCache:
    """Latents (B, S, `d_latent`) and rotary keys (B, S, `d_rope`) of all earlier tokens."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else self.kept.shape[1]

    def append(self, new: Tensor) -> Tensor:
        """Add (B, T, d) and return all."""
        self.kept = new if self.kept is None else torch.cat((self.kept, new), dim=1)
        return self.kept


class MLAAttention(Routed, SelfAttention):
    """Causal attention with keys and values made from one latent of `d_latent` numbers a token, all that is cached.

    `c = RMSNorm(W_dkv x)`; each head has its own `k = W_uk c` and `v = W_uv c`, all of them `d_inner` wide together
    (null: d_model), a multiple of `n_head`. A rotary key of `d_rope` numbers, shared by all heads, carries the position
    beside them (equation 14 ff.); without rotary positions there is none. With a cache the maps W_uk and W_uv are
    absorbed into queries and outputs: no key is rebuilt. `n_kv_head` heads have maps of their own, shared in groups.
    `qk_norm` normalises queries; keys come from a normalised latent. Sees what causal attention sees:

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    backends = ("sdpa", "math")

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        d_latent: int,
        d_rope: int,
        d_inner: int | None = None,
        bias: bool = True,
        rotary: bool = False,
        rotary_base: float = 10_000.0,
        rotary_share: float = 1.0,
        qk_norm: bool = False,
        **contract: Any,
    ) -> None:
        if d_inner is not None and (d_inner < 1 or d_inner % n_head):
            raise ValueError(f"d_inner={d_inner}: must be a multiple of n_head={n_head}")
        super().__init__(d_inner or d_model, n_head, block_size, **contract)
        if d_latent < 1:
            raise ValueError(f"d_latent={d_latent}: at least 1")
        if rotary and (d_rope < 2 or d_rope % 2):
            raise ValueError(f"d_rope={d_rope}: even and at least 2 with rotary positions")
        if rotary and rotary_share != 1:
            raise ValueError(
                f"rotary_share={rotary_share}: 1 with model/attention=mla, which turns d_rope other numbers"
            )
        self.head_width, self.d_latent = (d_inner or d_model) // n_head, d_latent
        self.d_rope = d_rope if rotary else 0
        self.query = nn.Linear(d_model, n_head * (self.head_width + self.d_rope), bias=bias)
        self.down = nn.Linear(d_model, d_latent + self.d_rope, bias=bias)
        self.latent_norm = HeadNorm(d_latent)
        self.up = nn.Linear(d_latent, 2 * self.n_kv_head * self.head_width, bias=False)  # keys, then values
        self.out = nn.Linear(n_head * self.head_width, d_model, bias=bias)
        self.rotary = Rotary(self.d_rope, block_size, rotary_base) if rotary else None
        self.query_norm = HeadNorm(self.head_width) if qk_norm else None

    def forward(
        self,
        x: Tensor,
        *,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: LatentCache | None = None,
        first: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), see SelfAttention."""
        if cache is not None and document_ids is not None:
            raise ValueError("a cache holds one document a row: give it no document_ids")
        time = x.shape[1]
        q = self.query(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, H, T, D + d_rope)
        latent = self.down(x)
        latent, turned = self.latent_norm(latent[..., : self.d_latent]), latent[..., self.d_latent :]
        plain = q[..., : self.head_width]
        if self.query_norm is not None:
            plain = self.query_norm(plain)
        if self.rotary is not None:
            positions = places(time, cache, x.device) if positions is None else positions
            q = torch.cat((plain, self.rotary(q[..., self.head_width :], positions)), dim=-1)
            turned = self.rotary(turned[:, None], positions)[:, 0]
        else:
            q = plain
        if cache is None:
            y = self._expanded(q, latent, turned, document_ids)
        else:
            y = self._absorbed(q, cache.append(torch.cat((latent, turned), dim=-1)))
        return self.out(y.transpose(1, 2).flatten(2))

    def _expanded(self, q: Tensor, latent: Tensor, turned: Tensor, document_ids: Tensor | None) -> Tensor:
        """With keys and values of every head: latent (B, T, d_latent), turned (B, T, d_rope) -> (B, H, T, D)."""
        k, v = self.up(latent).unflatten(-1, (2, self.n_kv_head, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            k = torch.cat((k, turned[:, None].expand(-1, self.n_kv_head, -1, -1)), dim=-1)
        mask = None
        if document_ids is not None:
            mask = once(document_ids, ("mask", Causal()), lambda: same_document(document_ids).tril())
        run = softmax_attention if self.backend == "math" else sdpa
        dropout = self.dropout if self.training else 0.0
        return run(q, k, v, mask=mask, causal=mask is None, dropout=dropout)

    def _absorbed(self, q: Tensor, kept: Tensor) -> Tensor:
        """Against cached latents: (B, H, T, D + d_rope), (B, S, d_latent + d_rope) -> (B, H, T, D)."""
        matrix = self.up.weight
        if type(self.up) is not nn.Linear or type(matrix) is not nn.Parameter:  # quantised: as it computes
            matrix = self.up(torch.eye(self.d_latent, dtype=kept.dtype, device=kept.device)).mT
        up_key, up_value = matrix.unflatten(0, (2, self.n_kv_head, -1))  # each (Hkv, D, d_latent)
        group = self.n_head // self.n_kv_head
        up_key, up_value = (weight.repeat_interleave(group, dim=0) for weight in (up_key, up_value))
        lifted = torch.einsum("bhtd,hdr->bhtr", q[..., : self.head_width], up_key)
        q = torch.cat((lifted, q[..., self.head_width :]), dim=-1)
        time, seen = q.shape[2], kept.shape[1]
        mask = torch.ones(time, seen, dtype=torch.bool, device=q.device).tril(seen - time)
        scale = (self.head_width + self.d_rope) ** -0.5
        dropout = self.dropout if self.training else 0.0
        mixed = softmax_attention(
            q, kept[:, None], kept[:, None, :, : self.d_latent], mask=mask, scale=scale, dropout=dropout
        )
        return torch.einsum("bhtr,hdr->bhtd", mixed, up_value)

    def matrices(self) -> dict[str, Tensor]:
        """Those of every linear layer, `up` as `key` and `value`: their latent is normalised, whatever `down` is."""
        found = super().matrices()
        return dict(zip(("key", "value"), found.pop("up").chunk(2), strict=True)) | found

    def new_cache(self) -> LatentCache:
        """An empty cache of latents."""
        return LatentCache()

    def cache_numbers(self, length: int) -> int:
        """`d_latent` + `d_rope` a token."""
        return length * (self.d_latent + self.d_rope)

    def mixing_flops(self, length: int) -> float:
        """Scores have the rotary part beside the head's width."""
        return 2 * self.n_head * (2 * self.head_width + self.d_rope) * self.visible_pairs(length) / length

    def visible(self, length: int) -> Tensor:
        """(1, length, length): all keys up to the query."""
        return torch.ones(1, length, length, dtype=torch.bool).tril()
