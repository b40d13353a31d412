"""Differential attention (Ye et al. 2024, arXiv 2410.05258)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.attention.causal import Causal
from frontpage.attention.parts.head_norm import HeadNorm
from frontpage.attention.parts.pattern import PatternAttention


class DifferentialAttention(PatternAttention):
    """Two causal attention maps a head, the second subtracted `lambda` times from the first.

    `O = (softmax(Q1 K1' / sqrt(D)) - lambda softmax(Q2 K2' / sqrt(D))) V`, RMS-normalised per head and scaled by
    1 - `lambda_init` (null: the paper's, which grows with the layer); lambda is learned. The first half of the heads
    are the first maps, the second half the second ones, and the values of a pair of heads are joined: half as many
    heads, whose values are twice as wide, at the parameters of ordinary attention. Raises ValueError where the heads of
    queries or of keys are odd in number. Sees what causal attention sees:

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    backends = ("sdpa", "math")
    mixes_values = False  # two heads share wider ones, and what they give is normalised

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        lambda_init: float | None = None,
        layer: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(d_model, n_head, block_size, patterns=[Causal()], layer=layer, **shared)
        for name, heads in (("n_head", n_head), ("n_kv_head", self.n_kv_head)):
            if heads % 2:
                raise ValueError(f"{name}={heads}: must be even, as half of the heads are the second maps")
        if lambda_init is not None and not 0 <= lambda_init < 1:
            raise ValueError(f"lambda_init={lambda_init}: from 0 to below 1, or null")
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * layer) if lambda_init is None else lambda_init
        self.lambdas = nn.Parameter(0.1 * torch.randn(4, self.head_width))  # of q1, k1, q2, k2
        self.norm = HeadNorm(2 * self.head_width, eps=1e-5)

    def mixing_flops(self, length: int) -> float:
        """Scores as elsewhere; values are twice as wide."""
        return super().mixing_flops(length) * 3 / 2

    def mix_heads(self, q: Tensor, k: Tensor, v: Tensor, mix: Callable[..., Tensor]) -> Tensor:
        """Both maps of all heads in one call, then their difference: as in the base, -> (B, H, T, D)."""
        wide = torch.cat(v.chunk(2, dim=1), dim=-1)  # (B, Hkv / 2, S, 2 D)
        first, second = mix(q, k, torch.cat((wide, wide), dim=1)).chunk(2, dim=1)
        q1, k1, q2, k2 = self.lambdas
        weight = (q1 @ k1).exp() - (q2 @ k2).exp() + self.lambda_init
        y = self.norm(first - weight * second) * (1 - self.lambda_init)  # (B, H / 2, T, 2 D)
        return torch.cat(y.chunk(2, dim=-1), dim=1)
