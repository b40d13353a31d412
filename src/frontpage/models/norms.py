"""The normalisations, by name."""

from torch import nn


def make_norm(name: str, width: int, bias: bool = True) -> nn.Module:
    """`layer` (Ba et al. 2016) or `rms` (Zhang and Sennrich 2019, no bias) over the last dimension; else ValueError."""
    if name == "layer":
        return nn.LayerNorm(width, bias=bias)
    if name == "rms":
        return nn.RMSNorm(width, eps=1e-6)
    raise ValueError(f"norm={name}: layer or rms")
