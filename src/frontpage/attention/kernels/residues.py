"""The form of a stride (`strided`): the tokens of one residue are a sequence of their own, and all of it is seen."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from frontpage.attention.kernels.blocks import in_blocks
from frontpage.attention.kernels.executors import in_tiles
from frontpage.attention.parts.documents import numbers_of_documents, once


def possible(documents: bool) -> bool:
    """Whether it computes several documents a row: yes."""
    return True


def faster(pattern: Any, length: int, documents: bool) -> bool:
    """At every length beyond the stride; measured on CPU (scripts/benchmark_attention.py)."""
    return length > pattern.stride


def mixed(pattern: Any, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
    """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D) in O(T^2 / stride); `pattern` has a `stride`."""
    batch, _, time, _ = q.shape
    stride = pattern.stride
    q, k, v = (_residues(part, stride).flatten(0, 1) for part in (q, k, v))  # (B * stride, H, T / stride, D)
    mask = None
    if document_ids is not None:
        mask = once(document_ids, ("residues", pattern), lambda: _same_document(document_ids, stride))
    y = in_tiles(q, k, v, mask=mask, causal=mask is None, dropout=dropout)
    y = y.unflatten(0, (batch, stride)).permute(0, 2, 3, 1, 4)  # (B, H, T / stride, stride, D)
    return y.flatten(2, 3)[:, :, :time]


def _residues(x: Tensor, stride: int) -> Tensor:
    """(B, H, T, D) -> (B, stride, H, T / stride, D), filled up with zeros at the end."""
    return in_blocks(x, stride).permute(0, 3, 1, 2, 4)


def _same_document(document_ids: Tensor, stride: int) -> Tensor:
    """(B * stride, 1, T / stride, T / stride)."""
    ids = F.pad(numbers_of_documents(document_ids), (0, -document_ids.shape[1] % stride), value=-1)
    ids = ids.unflatten(1, (-1, stride)).transpose(1, 2).flatten(0, 1)
    return (ids[:, None, :, None] == ids[:, None, None, :]).tril()
