"""Rotary position embedding (Su et al. 2021, "RoFormer"), in the rotate-half layout of Llama and Qwen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ROUNDING = 1e-6  # of a share times a width, which is meant to be whole


class Rotary(nn.Module):
    """Turns queries and keys by an angle that grows with their position, or the first `share` of their numbers alone.

    A share is turned as a head of that width would be, as in GPT-NeoX (Black et al. 2022, arXiv 2204.06745). In fp32 at
    least: a sine in half precision turns by another angle, and only the result is rounded. Raises ValueError where what
    is turned is not even.
    """

    def __init__(self, head_width: int, length: int, base: float = 10_000.0, share: float = 1.0) -> None:
        super().__init__()
        self.turned = round(share * head_width)  # numbers of a head, the first ones
        if share == 1 and head_width % 2:
            raise ValueError(f"positions=rotary: needs heads of an even width, not {head_width}")
        if self.turned < 2 or self.turned % 2 or abs(self.turned - share * head_width) > ROUNDING:
            raise ValueError(f"rotary_share={share}: must be an even number of the {head_width} numbers of a head")
        half, rest = self.turned // 2, head_width - self.turned
        self.parts = [half, half, rest] if rest else [half, half]
        frequencies = base ** (-torch.arange(0, self.turned, 2) / self.turned)
        angles = torch.outer(torch.arange(length), frequencies)  # (length, turned / 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turn `x` (B, H, T, D) by `positions` (B, T) or (T,); the result has the type of `x`."""
        cosine, sine = self.cosine[positions], self.sine[positions]
        if positions.dim() == 2:
            cosine, sine = cosine[:, None], sine[:, None]  # (B, 1, T, turned / 2)
        first, second, *rest = x.split(self.parts, dim=-1)
        turned = first * cosine - second * sine, second * cosine + first * sine
        return torch.cat((*turned, *rest), dim=-1).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """What `.to(...)` calls: follow to another device, not to half precision."""
        tables = self.cosine, self.sine
        super()._apply(fn, recurse)
        if torch.finfo(self.cosine.dtype).bits < 32:
            self.cosine, self.sine = (table.to(self.cosine.device) for table in tables)
        return self
