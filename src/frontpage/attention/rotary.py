"""Rotary position embedding (Su et al. 2021, "RoFormer"), in the rotate-half layout of Llama and Qwen."""

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns queries and keys by an angle that grows with their position."""

    def __init__(self, head_width: int, length: int, base: float = 10_000.0) -> None:
        super().__init__()
        if head_width % 2:
            raise ValueError(f"positions=rotary: needs heads of an even width, not {head_width}")
        frequencies = base ** (-torch.arange(0, head_width, 2) / head_width)
        angles = torch.outer(torch.arange(length), frequencies)  # (length, D / 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turn `x` (B, H, T, D) by `positions` (B, T) or (T,)."""
        cosine, sine = self.cosine[positions].to(x.dtype), self.sine[positions].to(x.dtype)
        if positions.dim() == 2:
            cosine, sine = cosine[:, None], sine[:, None]  # (B, 1, T, D / 2)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
