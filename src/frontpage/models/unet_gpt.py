"""UNetGPT: layers that narrow and widen again, with skips across (Ronneberger et al. 2015, along the width)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from frontpage.attention.parts.contract import SelfAttention
from frontpage.command.limits import Count, Matching
from frontpage.models.additions.addition import Stream
from frontpage.models.decoder import Decoder, LayerCount, at_least_1
from frontpage.models.initialisation import initialise

WIDTHS = Matching(".*", "a width for each layer, such as [512,256,512]")  # words alone: n_head has a say in the rest


class UNetGPT(Decoder):
    """A GPT whose layers have widths of their own, tokens (B, T) -> logits (B, T, V); `options` are those of Decoder.

    `widths` has one for each layer, in place of `d_model` and `n_layer`; None is a U from `d_model` to its half and
    back. A linear layer carries the residual stream from one width to
    the next, and at the end to the embedding's. With `skips` the output of layer i, times a learned number that starts
    at 1, is added to the input of layer n-1-i, unless that comes next anyway, through a linear layer where the two
    widths differ. Time is never pooled, which would let a token see later ones. Raises ValueError for an unknown name
    or sizes that do not fit.
    """

    keeps_outputs = True

    def __init__(
        self,
        vocab_size: int,
        block_size: Count,
        d_model: Count,
        n_layer: LayerCount,
        n_head: Count,
        attention: Callable[..., SelfAttention],
        *,
        widths: Annotated[Sequence[int] | None, WIDTHS] = None,
        skips: bool = True,
        **options: Any,
    ) -> None:
        at_least_1(d_model=d_model, n_layer=n_layer, n_head=n_head)
        if widths is None and d_model % n_head:
            raise ValueError(f"d_model={d_model}: must be a multiple of n_head={n_head}")
        widths = u_shape(d_model, n_layer, n_head) if widths is None else list(widths)
        if not widths:
            raise ValueError("widths=[]: one for each layer, so at least one")
        if any(width < 1 or width % n_head for width in widths):
            raise ValueError(f"widths={widths}: each must be a multiple of n_head={n_head}")
        sizes = {"vocab_size": vocab_size, "block_size": block_size, "n_head": n_head}
        super().__init__(*widths, **sizes, attention=attention, **options)
        self.projections = nn.ModuleList([fit(*pair) for pair in pairwise([widths[0], *widths, widths[0]])])
        # Of an even number of layers the two in the middle follow each other: there is nothing to skip.
        across = list(zip(widths, reversed(widths), strict=True))[: (len(widths) - 1) // 2] if skips else []
        self.skip_gates = nn.Parameter(torch.ones(len(across))) if across else None
        self.skip_projections = nn.ModuleList([fit(*pair) for pair in across])
        for added in (self.projections, self.skip_projections):
            initialise(added, self.init, self.init_std, [], len(widths))

    def through_blocks(self, x: Tensor, *context: Any) -> Tensor:
        """Embedded tokens (B, T, C) -> (B, T, C), down the U and up again."""
        stream = Stream(x, [])
        for index in range(len(self.blocks)):
            x = self.projections[index](x)
            across = len(self.blocks) - 1 - index  # the layer at the same height of the U
            if across < index - 1 and self.skip_gates is not None:
                x = x + self.skip_gates[across] * self.skip_projections[across](stream.outputs[across])
            x = self.through_layer(index, x, stream, *context)
        return self.projections[-1](x)


def u_shape(d_model: int, n_layer: int, n_head: int) -> list[int]:
    """Widths of a U: `d_model` at both ends, its half in the middle, between them multiples of 2 x `n_head`.

    >>> u_shape(512, 6, 8)
    [512, 384, 256, 256, 384, 512]
    """
    step, middle = 2 * n_head, (n_layer - 1) // 2  # an even head width, which rotary positions need

    def width(depth: int) -> int:
        wanted = d_model - d_model / 2 * depth / middle
        return min(d_model, max(1, int(wanted / step + 0.5)) * step)

    depths = [min(index, n_layer - 1 - index) for index in range(n_layer)]
    return [width(depth) if depth else d_model for depth in depths]


def fit(before: int, after: int) -> nn.Module:
    """(..., before) -> (..., after): linear, nothing where the widths are equal."""
    return nn.Identity() if before == after else nn.Linear(before, after, bias=False)
