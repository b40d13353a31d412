"""Addition: the places of a Decoder's forward pass at which ideas are added to it."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class Stream(NamedTuple):
    """What lies behind a layer: the embedded tokens (B, T, C), and what each earlier layer gave (B, T, its width)."""

    first: Tensor
    outputs: list[Tensor]


class Addition(nn.Module):
    """What is added to a Decoder; each method is a place of its forward pass, and changes nothing here.

    A subclass is built with the net, `Addition(net, ...)`, when the net has its initial weights, and draws its own: so
    those of the net are the same with it and without. It may give parts to the heads (`net.blocks[i].attention.add`)
    and to the branches (`net.blocks[i].after_mlp.append`), but does not keep the net. Raises ValueError, under the name
    of an option, for a net that it does not fit.
    """

    reads_outputs = False  # of earlier layers, in `stream`
    rounds = 1  # how often a token goes through the layers, now: 1 or 2; the first of two has no gradient

    def at(self, share: float) -> None:
        """Called before each update with the share of the run's updates that are made; what follows is in buffers."""

    def embedded(self, x: Tensor) -> Tensor:
        """The embedded tokens with their positions, (B, T, C), before dropout."""
        return x

    def before_layers(self, x: Tensor, earlier_round: Callable[[Tensor], Tensor]) -> Tensor:
        """What the layers read, (B, T, C); `earlier_round(x)` sends x through them before, with caches of its own."""
        return x

    def before_layer(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        """What layer `index` reads, (B, T, its width)."""
        return x

    def after_layer(self, index: int, before: Tensor, after: Tensor) -> Tensor:
        """What layer `index` gives, having read `before` and computed `after`, both (B, T, its width)."""
        return after
