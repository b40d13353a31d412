"""The form of blocks with summaries (`fixed`): a block of queries over its own keys and earlier blocks' summaries."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.kernels.blocks import attend_in_blocks, in_blocks
from frontpage.attention.parts.softmax import repeat_heads

RUNS = 4  # of blocks, each computed at once: its last block says how many summaries all of it meets


def possible(documents: bool) -> bool:
    """Whether it computes several documents a row: no, blocks are counted from the document's beginning."""
    return not documents


def faster(pattern: Any, length: int, documents: bool) -> bool:
    """Where a block's queries meet at most two fifths of all keys; measured on CPU (scripts/benchmark_attention.py)."""
    blocks = -(-length // pattern.block)
    return not documents and 5 * (pattern.block + (blocks - 1) * pattern.summary) <= 2 * length


def mixed_together(patterns: Sequence[Any], q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D), in O(T (block + T summary / block)); all groups at once.

    Each of `patterns` has `block`, `summary` and an `offset` of its own: the groups see the same places among the
    summaries and the own block, only of other columns.
    """
    first, groups = patterns[0], len(patterns)
    if k.shape[1] % groups:
        k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    time = q.shape[2]
    q, k, v = (in_blocks(part, first.block) for part in (q, k, v))  # (B, H, blocks, block, D)
    columns, parts, begin = [_summaries(patterns, part) for part in (k, v)], [], 0
    run = -(-q.shape[2] // RUNS)
    for own in zip(*(part.split(run, dim=2) for part in (q, k, v)), strict=True):
        end = begin + own[0].shape[2]
        kept = (end - 1) * first.summary
        seen = [_beside(part[:, :, :kept], x) for part, x in zip(columns, own[1:], strict=True)]
        parts.append(attend_in_blocks(own[0], *seen, _sight(begin, end, first.block, first.summary, q.device), dropout))
        begin = end
    return torch.cat(parts, dim=2)[:, :, :time]


def _summaries(patterns: Sequence[Any], x: Tensor) -> Tensor:
    """(B, H, blocks, block, D) -> (B, H, columns, D): of all blocks but the last, each group with its own columns."""
    shares = []
    for pattern, part in zip(patterns, x.chunk(len(patterns), dim=1), strict=True):
        end = pattern.block - pattern.offset
        shares.append(part[:, :, :-1, end - pattern.summary : end].flatten(2, 3))
    return torch.cat(shares, dim=1)


def _beside(columns: Tensor, x: Tensor) -> Tensor:
    """(B, H, columns, D), (B, H, blocks, block, D) -> (B, H, blocks, columns + block, D)."""
    return torch.cat((columns[:, :, None].expand(-1, -1, x.shape[2], -1, -1), x), dim=3)


def _sight(begin: int, end: int, block: int, summary: int, device: torch.device) -> Tensor:
    """(end - begin, block, columns + block): the columns of earlier blocks, and the own block up to the query."""
    places = torch.arange(end, device=device)
    of = places[:-1].repeat_interleave(summary)  # the block that a column is of
    earlier = (of < places[begin:, None])[:, None].expand(-1, block, -1)
    own = torch.ones(block, block, dtype=torch.bool, device=device).tril().expand(end - begin, -1, -1)
    return torch.cat((earlier, own), dim=2)
