"""Strided attention, alternating with a local window (Child et al. 2019, arXiv 1904.10509)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from frontpage.attention.local import Local
from frontpage.attention.parts.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class Strided(Pattern):
    """Every `stride`-th key back from the query.

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Strided(3), 8))
    #.......
    .#......
    ..#.....
    #..#....
    .#..#...
    ..#..#..
    #..#..#.
    .#..#..#
    """

    stride: int
    relative: ClassVar[bool] = True
    form: ClassVar[str | None] = "residues"

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where `stride` divides query - key >= 0."""
        return (key <= query) & ((query - key) % self.stride == 0)


class StridedAttention(PatternAttention):
    """The tokens `stride`, 2 `stride`, ... back, alternating with a local window of `stride` tokens.

    `alternate`: by `head` (the first half of the heads is local), by `layer` (every other layer is, the first one too),
    or `none` (strided alone, which never sees the token before).
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        stride: int,
        alternate: Literal["head", "layer", "none"] = "head",
        layer: int = 0,
        **shared: Any,
    ) -> None:
        if stride < 1:
            raise ValueError(f"stride={stride}: at least 1")
        if alternate not in ("head", "layer", "none"):
            raise ValueError(f"alternate={alternate}: one of head layer none")
        local, strided = Local(stride), Strided(stride)
        here = {"head": [local, strided], "layer": [strided if layer % 2 else local], "none": [strided]}
        super().__init__(d_model, n_head, block_size, patterns=here[alternate], layer=layer, **shared)
