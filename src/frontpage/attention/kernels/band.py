"""The form of a band (`local`): a block of queries over its own block of keys and the window before it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.kernels.blocks import attend_in_blocks, in_blocks
from frontpage.attention.kernels.executors import in_tiles
from frontpage.attention.parts.documents import numbers_of_documents, once

LEAST_BLOCK = 32  # queries that are computed together: few would leave the kernel idle


def possible(documents: bool) -> bool:
    """Whether it computes several documents a row: yes."""
    return True


def faster(pattern: Any, length: int, documents: bool) -> bool:
    """Where a block's queries meet less than half of the keys; measured on CPU (scripts/benchmark_attention.py)."""
    return length >= 2 * (_block(pattern) + pattern.window)


def mixed(pattern: Any, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
    """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D) in O(T window); `pattern` has a `window`."""
    batch, _, time, _ = q.shape
    q, k, v = (in_blocks(part, _block(pattern)) for part in (q, k, v))  # (B, H, blocks, block, D)
    k, v = (_with_the_window_before(pattern.window, part) for part in (k, v))
    if document_ids is None:
        return attend_in_blocks(q, k, v, _sight(pattern, q.shape[2], q.device), dropout)[:, :, :time]
    mask = once(document_ids, ("blocks", pattern), lambda: _sight_in_documents(pattern, document_ids, q.shape[2]))
    q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))  # blocks as rows: each has its own mask
    y = in_tiles(q, k, v, mask=mask.flatten(0, 1)[:, None], dropout=dropout)
    return y.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)[:, :, :time]


def _block(pattern: Any) -> int:
    return max(pattern.window, LEAST_BLOCK)


def _with_the_window_before(window: int, x: Tensor) -> Tensor:
    """(B, H, blocks, block, D) -> (B, H, blocks, window + block, D); zeros before the first."""
    before = F.pad(x[:, :, :-1, x.shape[3] - window :], (0, 0, 0, 0, 1, 0))
    return torch.cat((before, x), dim=3)


def _sight(pattern: Any, blocks: int, device: torch.device) -> Tensor:
    """(blocks, block, window + block): the first block has none before it."""
    key = torch.arange(pattern.window + _block(pattern), device=device)
    seen = pattern(key[pattern.window :, None], key).repeat(blocks, 1, 1)
    seen[0, :, : pattern.window] = False
    return seen


def _sight_in_documents(pattern: Any, document_ids: Tensor, blocks: int) -> Tensor:
    """(B, blocks, block, window + block)."""
    block, window = _block(pattern), pattern.window
    ids = F.pad(numbers_of_documents(document_ids), (0, blocks * block - document_ids.shape[1]), value=-1)
    keys = F.pad(ids, (window, 0)).unfold(1, window + block, block)  # (B, blocks, window + block)
    same = ids.view(len(ids), blocks, block, 1) == keys[:, :, None]
    return same & _sight(pattern, blocks, document_ids.device)
