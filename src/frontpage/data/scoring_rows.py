"""Which tokens are scored with which context: every token of every title exactly once."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles
from frontpage.data.packing import IGNORED, Stream, TitleBatch, Windows, as_batch, positions_below


class ScoringBatch(NamedTuple):
    """Rows to score, each field (B, T) int64; `document_ids` is None where a row holds one title only."""

    inputs: Tensor
    targets: Tensor  # the token to score, or IGNORED
    document_ids: Tensor | None
    positions: Tensor
    titles: Tensor  # index of the title that each token belongs to


class Segments(NamedTuple):
    """Places [start, end) of a title's inputs, each field (segments,) int64; targets from `scored` on are scored."""

    title: np.ndarray
    start: np.ndarray
    end: np.ndarray
    scored: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Places of each."""
        return self.end - self.start

    def at(self, chosen: np.ndarray | slice) -> "Segments":
        """Some of them, by their indices."""
        return Segments(*(field[chosen] for field in self))


def segments(lengths: np.ndarray, context: int) -> Segments:
    """One segment a title; for a title longer than `context`, windows that slide by half of it."""
    step = max(context // 2, 1)
    counts = 1 + -(-np.maximum(lengths - context, 0) // step)
    title = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(title)) - np.repeat(np.cumsum(counts) - counts, counts)
    end = np.minimum(context + number * step, lengths[title])
    scored = np.where(number > 0, context + (number - 1) * step, 0)
    return Segments(title, np.maximum(end - context, 0), end, scored)


class ScoringRows:
    """Rows of titles for the honest metrics, sorted by length so that little is padded.

    Each row holds one title, or, with `row_length`, as many whole ones as fit, kept apart by `document_ids`. A batch
    holds at most `batch_tokens` tokens, or one row. With several processes each takes every `world_size`-th row, and
    has a batch even where there are fewer rows: Lightning refuses a process without one.
    """

    def __init__(
        self,
        encoded: EncodedTitles,
        *,
        context: int,
        pad_id: int,
        eos_id: int,
        batch_tokens: int = 16_384,
        row_length: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.encoded, self.pad_id, self.eos_id, self.packed = encoded, pad_id, eos_id, row_length is not None
        found = segments(encoded.lengths, context)
        self._segments = found.at(np.argsort(found.lengths, kind="stable"))
        self._firsts = _row_starts(self._segments.lengths, row_length)  # (rows + 1,) segments
        lengths = np.add.reduceat(self._segments.lengths, self._firsts[:-1])
        self._rows = np.arange(len(lengths))[rank::world_size]  # those of this process
        if not len(self._rows):  # the first one, unscored
            self._rows = np.arange(len(lengths))[:1]
            self._segments = self._segments._replace(scored=self._segments.end)
        self._lengths = lengths[self._rows]
        self._starts = _batch_starts(self._lengths, batch_tokens)  # (batches + 1,) rows

    @property
    def sizes(self) -> list[int]:
        """The tokens of each batch, padding counted."""
        return [(end - start) * int(self._lengths[start:end].max()) for start, end in pairwise(self._starts)]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[ScoringBatch]:
        return (self._batch(slice(start, end)) for start, end in pairwise(self._starts))

    def _batch(self, rows: slice) -> ScoringBatch:
        shape = (rows.stop - rows.start, int(self._lengths[rows].max()))
        inputs, targets = np.full(shape, self.pad_id), np.full(shape, IGNORED)
        documents, positions, titles = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape, int)
        tokens, offsets = self.encoded.tokens, self.encoded.offsets
        for index, row in enumerate(self._rows[rows]):
            at, held = 0, self._segments.at(slice(self._firsts[row], self._firsts[row + 1]))
            for document, (title, start, end, scored) in enumerate(zip(*(f.tolist() for f in held), strict=True)):
                first, place = offsets[title], slice(at, at + end - start)
                inputs[index, place] = [tokens[first + start - 1] if start else self.eos_id] + tokens[
                    first + start : first + end - 1
                ].tolist()
                targets[index, at + scored - start : place.stop] = tokens[first + scored : first + end]
                documents[index, place] = document
                positions[index, place] = np.arange(end - start)
                titles[index, place] = title
                at = place.stop
        arrays = (inputs, targets, documents, positions, titles)
        batch = ScoringBatch(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
        return batch if self.packed else batch._replace(document_ids=None)


def original_rows(encoded: EncodedTitles, block_size: int, batch_size: int, *, eos_id: int) -> Iterator[TitleBatch]:
    """The batches that the original exercise's `evaluate()` scores, each field (batch_size, block_size).

    Spans of `block_size * batch_size + 1` tokens of the stream without its leading `<eos>`; the tail that fills no
    span is left out, and so is the first token of each span.
    """
    stream, size = Stream(encoded, np.arange(len(encoded)), eos_id), block_size * batch_size
    for start in range(1, len(encoded.tokens) - size + 1, size + 1):
        fields = [column.reshape(batch_size, block_size) for column in stream.part(start, start + size)]
        fields[3] = positions_below(fields[3], fields[2], block_size)
        yield TitleBatch(*(torch.from_numpy(field.astype(np.int64)) for field in fields))


def original_tokens_scored(tokens: int, block_size: int, batch_size: int) -> int:
    """How many of `tokens` validation tokens `original_rows` scores."""
    size = block_size * batch_size
    return tokens // (size + 1) * size


def packed_rows(
    encoded: EncodedTitles, block_size: int, batch_tokens: int, *, pad_id: int, eos_id: int
) -> Iterator[TitleBatch]:
    """Every token once, in the original's context: the stream of all titles cut into rows of `block_size`."""
    windows = Windows(Stream(encoded, np.arange(len(encoded)), eos_id), block_size, pad_id)
    rows = max(batch_tokens // block_size, 1)
    for start in range(0, len(windows), rows):
        yield as_batch(windows.rows(start, start + rows), slice(None))


def _row_starts(lengths: np.ndarray, row_length: int | None) -> np.ndarray:
    """(rows + 1,) where rows of whole segments begin, filled in order up to `row_length` (None: one segment a row).

    A longer segment has a row of its own.
    """
    if row_length is None:
        return np.arange(len(lengths) + 1)
    starts, free = [], 0
    for place, length in enumerate(lengths.tolist()):
        if length > free:
            starts.append(place)
            free = row_length
        free -= length
    return np.array([*starts, len(lengths)])


def _batch_starts(lengths: np.ndarray, batch_tokens: int) -> list[int]:
    """Where batches of rows begin and the last one ends: of at most `batch_tokens`, padding counted, or of one row."""
    starts, longest = [0], 0
    for place, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if place > starts[-1] and longest * (place + 1 - starts[-1]) > batch_tokens:
            starts.append(place)
            longest = length
    return [*starts, len(lengths)] if len(lengths) else [0]
