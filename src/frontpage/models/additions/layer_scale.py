"""LayerScale: what attention and MLP add to the stream is scaled by learned numbers, small at first."""

import torch
from torch import Tensor, nn

from frontpage.command.limits import Amount
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class LayerScale(Addition):
    """x + diag(g) G(x) for each branch G of a layer, its attention and its MLP; g starts at `start` everywhere.

    Touvron et al. 2021, "Going deeper with image transformers", arXiv 2103.17239, section 2.1.
    """

    def __init__(self, net: Decoder, start: Amount = 0.1) -> None:
        super().__init__()
        for block, width in zip(net.blocks, net.widths, strict=True):
            block.after_attention.append(Scale(width, start))
            block.after_mlp.append(Scale(width, start))


class Scale(nn.Module):
    """(..., C) times a learned number for each of C, all of them `start` at first."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((width,), float(start)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.factors
