"""Strided attention, alternating with a local window (Child et al. 2019, arXiv 1904.10509)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.kernels.executors import in_tiles
from frontpage.attention.local import Local, in_blocks
from frontpage.attention.parts.documents import once
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

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where `stride` divides query - key >= 0."""
        return (key <= query) & ((query - key) % self.stride == 0)

    def reshapes(self, documents: bool) -> bool:
        """Always: tokens of one residue form a sequence of their own, on which the pattern is causal."""
        return True

    def reshapes_faster(self, length: int, documents: bool) -> bool:
        """At every length beyond the stride."""
        return length > self.stride

    def reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T^2 / stride) instead of O(T^2)."""
        batch, _, time, _ = q.shape
        q, k, v = (self._residues(part).flatten(0, 1) for part in (q, k, v))  # (B * stride, H, T / stride, D)
        mask = None
        if document_ids is not None:
            mask = once(document_ids, ("residues", self), lambda: self._same_document(document_ids))
        y = in_tiles(q, k, v, mask=mask, causal=mask is None, dropout=dropout)
        y = y.unflatten(0, (batch, self.stride)).permute(0, 2, 3, 1, 4)  # (B, H, T / stride, stride, D)
        return y.flatten(2, 3)[:, :, :time]

    def _residues(self, x: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, stride, H, T / stride, D), filled up with zeros at the end."""
        return in_blocks(x, self.stride).permute(0, 3, 1, 2, 4)

    def _same_document(self, document_ids: Tensor) -> Tensor:
        """(B * stride, 1, T / stride, T / stride)."""
        ids = F.pad(document_ids, (0, -document_ids.shape[1] % self.stride), value=-1)
        ids = ids.unflatten(1, (-1, self.stride)).transpose(1, 2).flatten(0, 1)
        return (ids[:, None, :, None] == ids[:, None, None, :]).tril()


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
