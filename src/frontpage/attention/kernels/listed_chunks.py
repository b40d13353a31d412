"""Attention over listed keys in plain tensors, some queries at a time: where nothing can be compiled, or with dropout.

Takes as long as the whole square does, but keeps none: a chunk's weights are computed again in the backward pass.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from frontpage.attention.kernels.listed_keys import ListedKeys
from frontpage.attention.parts.softmax import repeat_heads

PAIRS_AT_ONCE = 2**22  # of a query and a key, over all rows and heads


def in_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: ListedKeys,
    *,
    dropout: float = 0.0,
) -> Tensor:
    """What `by_kernel` gives for runs of keys; with `dropout` of the weights."""
    given, kind = v.dtype, torch.promote_types(q.dtype, torch.float32)
    q, k, v = q.to(kind), repeat_heads(k.to(kind), q.shape[1]), repeat_heads(v.to(kind), q.shape[1])
    batch, heads, queries, _ = q.shape
    earlier = k.shape[2] - queries
    step = max(PAIRS_AT_ONCE // (batch * heads * k.shape[2]), 1)
    parts = []
    with torch.autocast(q.device.type, enabled=False):
        for begin in range(0, queries, step):
            end = min(begin + step, queries)
            seen = slice(earlier + end)  # what later tokens say is not looked at
            own = q[:, :, begin:end], k[:, :, seen], v[:, :, seen]
            parts.append(checkpoint(_chunk, *own, keys, begin, end, dropout, use_reentrant=False))
    return torch.cat(parts, dim=2).to(given)


def _chunk(q: Tensor, k: Tensor, v: Tensor, keys: ListedKeys, begin: int, end: int, dropout: float) -> Tensor:
    mask = keys.mask(begin, end, k.shape[2] - end)  # (P, 1 or B, t, s)
    mask = mask.transpose(0, 1).repeat_interleave(q.shape[1] // mask.shape[0], dim=1)
    weights = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    return F.dropout(weights, dropout) @ v
