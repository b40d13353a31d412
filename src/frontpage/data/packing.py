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


class Stream:
    """The titles in `order` as one stream, one place for each token as a target; any part of it is read by itself.

    The token at offset o of a title is the target of the input at position o: `<eos>`, then the title so far. The
    stream opens with one `<eos>`, so every token of every title, its own `<eos>` included, is a target exactly once.
    """

    def __init__(self, encoded: EncodedTitles, order: np.ndarray, eos_id: int) -> None:
        self.titles = len(order)
        self._encoded, self._order, self._eos_id = encoded, order, eos_id
        self._ends = np.cumsum(encoded.lengths[order])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.titles else 0

    def part(self, start: int, end: int, own: slice | None = None, block_size: int = 1) -> TitleBatch:
        """The places [start, end) as 1-D int32 arrays; with `own`, of their blocks of `block_size` only those.

        Tokens of other blocks are not read, so that of a file which is mapped each process reads its share.
        """
        first, last = np.searchsorted(self._ends, (start, end - 1), side="right") if end > start else (0, -1)
        titles = self._order[first : last + 1]
        offsets, ends = self._encoded.offsets[titles], self._ends[first : last + 1]
        begins = ends - (self._encoded.offsets[titles + 1] - offsets)
        shown = np.minimum(ends, end) - np.maximum(begins, start)
        places, documents = np.arange(start, end), np.repeat(np.arange(len(titles), dtype=np.int32), shown)
        if own is not None:
            mine = np.zeros(-(-(end - start) // block_size), dtype=bool)
            mine[own] = True
            chosen = np.repeat(mine, block_size)[: end - start]
            places, documents = places[chosen], documents[chosen]
        within = places - begins[documents]
        sources = offsets[documents] + within
        tokens = self._encoded.tokens[sources].astype(np.int32)
        inputs = self._encoded.tokens[sources - (within > 0)].astype(np.int32)
        inputs[within == 0] = self._eos_id
        return TitleBatch(inputs, tokens, documents + np.int32(first), within.astype(np.int32))


def stream(encoded: EncodedTitles, order: np.ndarray, eos_id: int) -> TitleBatch:
    """All of the Stream of the titles in `order`."""
    whole = Stream(encoded, order, eos_id)
    return whole.part(0, len(whole))


class Windows:
    """A Stream cut into windows of `block_size` places; the last one padded, its padding ignored.

    With `drop_tail` the stream is the original exercise's: it opens with the first title's first token (which is then
    never a target), and the tail that does not fill a window is dropped.
    """

    def __init__(self, stream: Stream, block_size: int, pad_id: int, drop_tail: bool = False) -> None:
        self._stream, self._block_size, self._pad_id, self._first = stream, block_size, pad_id, int(drop_tail)
        places = max(len(stream) - self._first, 0)
        self._end = self._first + places // block_size * block_size if drop_tail else len(stream)
        self._count = -(-(self._end - self._first) // block_size)

    def __len__(self) -> int:
        return self._count

    def rows(self, start: int, end: int, rank: int = 0, world_size: int = 1) -> TitleBatch:
        """Windows [start, end), fewer at the stream's end, every `world_size`-th from `rank` on: int32 (W, T) arrays.

        Whoever asks counts the windows of all processes from `start`, a multiple of `world_size`.
        """
        size = self._block_size
        begin, end = (min(self._first + row * size, self._end) for row in (start, end))
        own = slice(rank, None, world_size) if world_size > 1 else None
        columns = self._stream.part(begin, end, own, size)
        missing = -len(columns.inputs) % size
        if missing:
            fillings = (self._pad_id, IGNORED, self._stream.titles, 0)
            columns = [np.pad(c, (0, missing), constant_values=f) for c, f in zip(columns, fillings, strict=True)]
        inputs, targets, documents, positions = (column.reshape(-1, size) for column in columns)
        return TitleBatch(inputs, targets, documents, positions_below(positions, documents, size))


def pack(
    encoded: EncodedTitles, order: np.ndarray, block_size: int, *, pad_id: int, eos_id: int, drop_tail: bool = False
) -> TitleBatch:
    """All Windows of the titles in `order` as int32 arrays (W, block_size)."""
    windows = Windows(Stream(encoded, order, eos_id), block_size, pad_id, drop_tail)
    return windows.rows(0, len(windows))


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
    """The same kind of batch with some of its rows, on a device; what is no tensor is of the whole batch and stays.

    One that says more than a row each cuts itself, by its `some_rows`.
    """
    some_rows = getattr(batch, "some_rows", None)
    fields = some_rows(rows) if some_rows else (one[rows] if isinstance(one, Tensor) else one for one in batch)
    return type(batch)(*(one.to(device) if isinstance(one, Tensor) else one for one in fields))
