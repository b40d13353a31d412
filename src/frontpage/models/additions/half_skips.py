"""HalfSkips: skips from the first half of the layers to the second, at constant width."""

import torch
from torch import Tensor, nn

from frontpage.models.additions.addition import Addition, Stream
from frontpage.models.decoder import Decoder
from frontpage.models.unet_gpt import UNetGPT


class HalfSkips(Addition):
    """Layer n-1-i reads x + w_i y_i, y_i being what layer i has given and w_i a learned number that starts at 1.

    Which layers, that is as in UNetGPT: the two in the middle of an even number follow each other and have none, so
    that a net of one or two layers has none at all. Of the slowrun, after the U-Net of Ronneberger et al. 2015. Raises
    ValueError for UNetGPT, which has skips of its own.
    """

    reads_outputs = True

    def __init__(self, net: Decoder) -> None:
        super().__init__()
        if isinstance(net, UNetGPT):
            raise ValueError("half_skips=HalfSkips: UNetGPT has skips of its own (model.skips)")
        self.layers = len(net.widths)
        skips = (self.layers - 1) // 2
        self.weights = nn.Parameter(torch.ones(skips)) if skips else None

    def before_layer(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        across = self.layers - 1 - index
        return x + self.weights[across] * stream.outputs[across] if across < index - 1 else x
