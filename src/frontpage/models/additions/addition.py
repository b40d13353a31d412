"""Addition: the places of a Decoder's forward pass at which ideas are added to it."""

from typing import NamedTuple

from torch import Tensor, nn


class Stream(NamedTuple):
    """What lies behind a layer: the embedded tokens (B, T, C), and what each earlier layer gave (B, T, its width)."""

    first: Tensor
    outputs: list[Tensor]


class Addition(nn.Module):
    """What is added to a Decoder; each method is a place of its forward pass, and changes nothing here.

    A subclass is built with the net, `Addition(net, ...)`, when the net has its initial weights, and draws its own: so
    those of the net are the same with it and without. It may give parts to the heads (`net.blocks[i].attention.add`),
    but does not keep the net. Raises ValueError, under the name of an option, for a net that it does not fit.
    """

    reads_outputs = False  # of earlier layers, in `stream`

    def before_layer(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        """What layer `index` reads, (B, T, its width)."""
        return x

    def after_layer(self, index: int, before: Tensor, after: Tensor) -> Tensor:
        """What layer `index` gives, having read `before` and computed `after`, both (B, T, its width)."""
        return after
