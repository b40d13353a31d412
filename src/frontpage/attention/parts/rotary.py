"""Rotary position embedding (Su et al. 2021, "RoFormer"), in the rotate-half layout of Llama and Qwen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns queries and keys by an angle that grows with their position.

    In fp32 at least: a sine in half precision turns by another angle, and only the result is rounded.
    """

    def __init__(self, head_width: int, length: int, base: float = 10_000.0) -> None:
        super().__init__()
        if head_width % 2:
            raise ValueError(f"positions=rotary: needs heads of an even width, not {head_width}")
        frequencies = base ** (-torch.arange(0, head_width, 2) / head_width)
        angles = torch.outer(torch.arange(length), frequencies)  # (length, D / 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turn `x` (B, H, T, D) by `positions` (B, T) or (T,); the result has the type of `x`."""
        cosine, sine = self.cosine[positions], self.sine[positions]
        if positions.dim() == 2:
            cosine, sine = cosine[:, None], sine[:, None]  # (B, 1, T, D / 2)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """What `.to(...)` calls: follow to another device, not to half precision."""
        tables = self.cosine, self.sine
        super()._apply(fn, recurse)
        if torch.finfo(self.cosine.dtype).bits < 32:
            self.cosine, self.sine = (table.to(self.cosine.device) for table in tables)
        return self
