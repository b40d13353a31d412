"""MLP and Block: what surrounds an attention in a Transformer layer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.attention.parts.contract import SelfAttention
from frontpage.models.norms import make_norm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),  # So et al. 2021, "Primer"
    "swiglu": F.silu,  # of a gate beside the input: Shazeer 2020, "GLU Variants"
}


def default_d_ff(d_model: int, activation: str) -> int:
    """4 x `d_model`; for `swiglu`, whose MLP has three matrices, the multiple of 8 next above 8/3 x `d_model`."""
    return -(-8 * d_model // 24) * 8 if activation == "swiglu" else 4 * d_model


class MLP(nn.Module):
    """Two matrices with an activation between them, (B, T, C) -> (B, T, C); `swiglu` adds a gate to the first."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu", bias: bool = True) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation}: one of {' '.join(ACTIVATIONS)}")
        self.activation, self.gated = ACTIVATIONS[activation], activation == "swiglu"
        self.up = nn.Linear(d_model, d_ff * (2 if self.gated else 1), bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def matrices(self) -> dict[str, Tensor]:
        """Its weights by name, those of a gated `up` as `gate` and `up`."""
        parts = zip(("gate", "up"), self.up.weight.chunk(2), strict=True) if self.gated else [("up", self.up.weight)]
        return dict(parts) | {"down": self.down.weight}

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if self.gated:
            gate, x = self.up(x).chunk(2, dim=-1)
            return self.down(self.activation(gate) * x)
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Attention and MLP, each added to the residual stream; normalised before (`pre`) or after the sum (`post`).

    Under `post` the stream is multiplied by `residual_scale` before each sum: 1, or DeepNet's alpha.
    """

    def __init__(
        self,
        attention: SelfAttention,
        mlp: MLP,
        d_model: int,
        *,
        norm: str = "layer",
        norm_position: str = "pre",
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if norm_position not in ("pre", "post"):
            raise ValueError(f"norm_position={norm_position}: pre or post")
        self.pre, self.residual_scale = norm_position == "pre", 1.0
        self.attention_norm, self.attention = make_norm(norm, d_model, bias), attention
        self.mlp_norm, self.mlp = make_norm(norm, d_model, bias), mlp
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Any = None,
        first: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); `first` are the embedded tokens (B, T, C) where something is added to the net."""
        context = {"document_ids": document_ids, "positions": positions, "cache": cache}
        context |= {} if first is None else {"first": first}
        if self.pre:
            x = x + self.dropout(self.attention(self.attention_norm(x), **context))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(self.summed(x, self.attention(x, **context)))
        return self.mlp_norm(self.summed(x, self.mlp(x)))

    def summed(self, x: Tensor, branch: Tensor) -> Tensor:
        """The scaled stream and what a part adds to it, (B, T, C) each, in one operation."""
        return torch.add(self.dropout(branch), x, alpha=self.residual_scale)
