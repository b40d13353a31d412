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
    k, v = (part.to(kind).transpose(1, 2).flatten(2) for part in (k, v))  # (B, S, Hkv D)
    gates, window = None if gates is None else gates.to(kind), min(window, tokens)
    at_once = max(NUMBERS_AT_ONCE // ((window + keys.chosen.shape[2]) * max(heads, kv_heads * width)), 1)  # queries
    mixed = []
    with torch.autocast(q.device.type, enabled=False):
        step = max(at_once // queries, 1)
        for rows, *some in zip(_slices(batch, step), *(part.split(step) for part in (q, k, v)), strict=True):
            some_q, *tables = some[0], *(part.flatten(0, 1) for part in some[1:])
            parts = []
            for own, own_q in zip(_slices(queries, at_once), some_q.split(at_once, dim=3), strict=True):
                place, seen = _places(keys, rows, own, window, tokens)
                factors = None if gates is None else gates[rows, own]
                inputs = own_q, *tables, place, seen, factors, dropout
                parts.append(checkpoint(_mixed, *inputs, use_reentrant=False))
            mixed.append(torch.cat(parts, dim=3))
    return torch.cat(mixed).flatten(1, 2).to(given)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(begin, begin + step) for begin in range(0, length, step)]


def _places(keys: ListedKeys, rows: slice, own: slice, window: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Which lines of a table of these rows the queries `own` look at, and whether they see them: (b, t, window + k)."""
    count, chosen = keys.count[0][rows, own], keys.chosen[rows, own].long()
    near = keys.near[0].expand_as(keys.count[0])[rows, own]
    query = torch.arange(tokens - keys.chosen.shape[1], tokens, device=chosen.device)[own]
    last = query[:, None] - torch.arange(window, device=chosen.device)
    last = last.expand(len(chosen), -1, -1)
    used = torch.arange(chosen.shape[2], device=chosen.device) < count[..., None]
    seen = torch.cat((last >= near[..., None], used), dim=2)
    line = tokens * torch.arange(len(chosen), device=chosen.device)[:, None, None]
    return torch.cat((last, chosen), dim=2).where(seen, 0) + line, seen


def _mixed(
    q: Tensor, keys: Tensor, values: Tensor, place: Tensor, seen: Tensor, gates: Tensor | None, dropout: float
) -> Tensor:
    """q (b, Hkv, G, t, D), both tables (b S, Hkv D) -> (b, Hkv, G, t, D)."""
    own_keys, own_values = (F.embedding(place, one).unflatten(-1, (q.shape[1], -1)) for one in (keys, values))
    scores = torch.einsum("bcgtd,btncd->bcgtn", q, own_keys) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
    weights = F.dropout(weights, dropout)
    if gates is not None:
        ones = gates.new_ones(*gates.shape[:2], place.shape[2] - gates.shape[2])
        weights = weights * torch.cat((ones, gates), dim=2)[:, None, None]
    return torch.einsum("bcgtn,btncd->bcgtd", weights, own_values)
