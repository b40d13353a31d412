"""Titles packed into windows: one stream, titles separated by `<eos>`, cut every `block_size` tokens."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles

IGNORED = -100  # the target of padding: no loss, no metric


class TitleBatch(NamedTuple):
    """Windows of titles: each field is (B, T) int64 on the model's device.

    `document_ids` tells the titles of a row apart: a title's document begins with the `<eos>` that opens it.
    `positions` count from that `<eos>`.
    """

    inputs: Tensor
    targets: Tensor  # the next token, or IGNORED
    document_ids: Tensor
    positions: Tensor


def stream(encoded: EncodedTitles, order: np.ndarray, eos_id: int) -> TitleBatch:
    """The titles in `order` as one stream of 1-D int32 arrays, one place for each token as a target.

    The token at offset o of a title is the target of the input at position o: `<eos>`, then the title so far. The
    stream opens with one `<eos>`, so every token of every title, its own `<eos>` included, is a target exactly once.
    """
    lengths = encoded.lengths[order]
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    tokens = encoded.tokens[np.repeat(encoded.offsets[order], lengths) + within].astype(np.int32)
    inputs = np.concatenate(([eos_id], tokens[:-1])).astype(np.int32)
    documents = np.repeat(np.arange(len(order), dtype=np.int32), lengths)
    return TitleBatch(inputs, tokens, documents, within.astype(np.int32))


def pack(
    encoded: EncodedTitles, order: np.ndarray, block_size: int, *, pad_id: int, eos_id: int, drop_tail: bool = False
) -> TitleBatch:
    """The titles in `order` as windows (W, block_size) of int32 arrays; the last one padded, its padding ignored.

    With `drop_tail` the stream is the original exercise's: it opens with the first title's first token (which is then
    never a target), and the tail that does not fill a window is dropped.
    """
    fields = stream(encoded, order, eos_id)
    if drop_tail:
        whole = (len(fields.inputs) - 1) // block_size * block_size
        columns = [column[1 : 1 + whole] for column in fields]
    else:
        missing = -len(fields.inputs) % block_size
        fillings = (pad_id, IGNORED, len(order), 0)
        columns = [np.pad(c, (0, missing), constant_values=f) for c, f in zip(fields, fillings, strict=True)]
    inputs, targets, documents, positions = (column.reshape(-1, block_size) for column in columns)
    return TitleBatch(inputs, targets, documents, positions_below(positions, documents, block_size))


def positions_below(positions: np.ndarray, documents: np.ndarray, block_size: int) -> np.ndarray:
    """Slide the positions of a title that is longer than the window down, just enough to stay below `block_size`.

    Only a row's first title can be one that began before the row.
    """
    first = documents == documents[:, :1]
    last = np.where(first, positions, 0).max(axis=1, keepdims=True)
    return positions - first * np.maximum(last - (block_size - 1), 0)


def as_batch(fields: TitleBatch, rows: slice) -> TitleBatch:
    """Some rows of packed arrays as int64 tensors."""
    return TitleBatch(*(torch.from_numpy(field[rows].astype(np.int64)) for field in fields))


def rows_of(batch: Any, rows: slice, device: torch.device | None = None) -> Any:
    """The same kind of batch with some of its rows, on a device; what is no tensor is of the whole batch and stays."""
    return type(batch)(*(field[rows].to(device) if isinstance(field, Tensor) else field for field in batch))
