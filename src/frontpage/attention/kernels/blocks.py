"""Blocks of queries that are computed together, each with the keys that it sees."""

from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.kernels.executors import in_tiles
from frontpage.attention.parts.softmax import repeat_heads


def in_blocks(x: Tensor, block: int) -> Tensor:
    """(B, H, T, D) -> (B, H, blocks, block, D), filled up with zeros at the end."""
    rest = -x.shape[2] % block
    x = F.pad(x, (0, 0, 0, rest)) if rest else x  # to pad by nothing would copy
    return x.unflatten(2, (-1, block))


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, sight: Tensor, dropout: float) -> Tensor:
    """Blocks as heads of one call: (B, H, blocks, block, D), (B, Hkv, blocks, S, D) twice -> (B, H, T, D).

    `sight` (blocks, block, S) is what their queries see.
    """
    heads = q.shape[1]
    k, v = repeat_heads(k, heads), repeat_heads(v, heads)
    mask = sight.repeat(heads, 1, 1)[None]
    y = in_tiles(*(part.flatten(1, 2) for part in (q, k, v)), mask=mask, dropout=dropout)
    return y.unflatten(1, (heads, -1)).flatten(2, 3)
