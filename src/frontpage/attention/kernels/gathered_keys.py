"""Attention over a window and chosen keys in plain tensors, which are gathered for some queries at a time.

It takes as long as there are such keys, and keeps none of them: they are gathered again in the backward pass.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from frontpage.attention.kernels.listed_keys import ListedKeys

NUMBERS_AT_ONCE = 2**22  # of gathered keys, over all rows and heads: 16 MiB in fp32, and as many of values


def gathered(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: ListedKeys,
    gates: Tensor | None = None,
    *,
    window: int,
    dropout: float = 0.0,
) -> Tensor:
    """What `by_kernel` gives for `keys` with chosen ones and at most `window` near ones, with gradients of all.

    q (B, H, T, D), k and v (B, Hkv, S, D), `gates` (B, T, k) of chosen keys -> (B, H, T, D); `dropout` of the weights.
    """
    given, kind = v.dtype, torch.promote_types(q.dtype, torch.float32)
    (_, heads, queries, _), (batch, kv_heads, tokens, width) = q.shape, k.shape
    q = q.to(kind).unflatten(1, (kv_heads, -1))  # (B, Hkv, G, T, D)
    tables = [part.to(kind).transpose(1, 2).flatten(0, 1).flatten(1) for part in (k, v)]  # (B S, Hkv D)
    columns = window + keys.chosen.shape[2]
    step = max(NUMBERS_AT_ONCE // (batch * columns * max(heads, kv_heads * width)), 1)
    parts = []
    with torch.autocast(q.device.type, enabled=False):
        for begin in range(0, queries, step):
            own = slice(begin, begin + step)
            place, seen = _places(keys, own, window, tokens)
            factors = None if gates is None else gates[:, own].to(kind)
            parts.append(
                checkpoint(_mixed, q[..., own, :], *tables, place, seen, factors, dropout, use_reentrant=False)
            )
    return torch.cat(parts, dim=3).flatten(1, 2).to(given)


def _places(keys: ListedKeys, own: slice, window: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Which rows of a table the queries `own` look at, and whether they see them: (B, t, window + k) twice."""
    near, count, chosen = keys.near[0][:, own], keys.count[0][:, own], keys.chosen[:, own].long()
    query = torch.arange(tokens - keys.chosen.shape[1], tokens, device=chosen.device)[own]
    last = query[:, None] - torch.arange(window, device=chosen.device)
    last = last.expand(len(chosen), -1, -1)
    used = torch.arange(chosen.shape[2], device=chosen.device) < count[..., None]
    seen = torch.cat((last >= near[..., None], used.expand_as(chosen)), dim=2)
    row = tokens * torch.arange(len(chosen), device=chosen.device)[:, None, None]
    return torch.cat((last, chosen), dim=2).where(seen, 0) + row, seen


def _mixed(
    q: Tensor, keys: Tensor, values: Tensor, place: Tensor, seen: Tensor, gates: Tensor | None, dropout: float
) -> Tensor:
    """q (B, Hkv, G, t, D), both tables (B S, Hkv D) -> (B, Hkv, G, t, D)."""
    own_keys, own_values = (F.embedding(place, one).unflatten(-1, (q.shape[1], -1)) for one in (keys, values))
    scores = torch.einsum("bcgtd,btncd->bcgtn", q, own_keys) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
    weights = F.dropout(weights, dropout)
    if gates is not None:
        ones = gates.new_ones(*gates.shape[:2], place.shape[2] - gates.shape[2])
        weights = weights * torch.cat((ones, gates), dim=2)[:, None, None]
    return torch.einsum("bcgtn,btncd->bcgtd", weights, own_values)
