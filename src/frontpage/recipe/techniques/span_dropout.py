"""Span dropout: whole spans of the tokens that the net reads are hidden (as in SpanBERT, Joshi et al. 2020)."""

from typing import Annotated

import torch
from torch import Tensor

from frontpage.command.limits import AtLeast, ShareBelow1
from frontpage.recipe.techniques.token_dropout import TokenDropout


class SpanDropout(TokenDropout):
    """As TokenDropout, but the hidden places come in spans of geometric length, `length` tokens in the mean.

    Each place is hidden with probability `share`. A span is cut where a row ends, and by the `<eos>` that opens a
    title. Raises ValueError for spans shorter than those of single draws, 1 / (1 - `share`).
    """

    def __init__(self, *, share: ShareBelow1 = 0.1, length: Annotated[float, AtLeast(1)] = 3.0) -> None:
        super().__init__(share=share)
        if length * (1 - share) < 1:
            raise ValueError(f"length={length}: at least {1 / (1 - share):.3g}, the mean of single draws of {share:g}")
        self.length = length

    def hidden(self, inputs: Tensor) -> Tensor:
        """Which places of (B, T) are drawn.

        Pieces of geometric length are hidden or not, each by itself; pieces that follow each other make one span, so
        that its end comes with probability (a piece ends) x (1 - share) = 1 / length.
        """
        shape, numbers = inputs.shape, {"dtype": torch.float32, "device": inputs.device}  # bf16 has 256 values below 1
        begins = torch.rand(shape, **numbers) < 1 / (self.length * (1 - self.share))
        begins[:, 0] = False  # the first piece is there anyway
        drawn = torch.rand(shape, **numbers) < self.share
        return drawn.gather(1, begins.cumsum(1))
