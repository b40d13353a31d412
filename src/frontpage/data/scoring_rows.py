"""Which tokens are scored with which context: every token of every title exactly once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles
from frontpage.data.packing import IGNORED, TitleBatch, pack, positions_below, stream


class ScoringBatch(NamedTuple):
    """Rows to score, each field (B, T) int64; `document_ids` is None where a row holds one title only."""

    inputs: Tensor
    targets: Tensor  # the token to score, or IGNORED
    document_ids: Tensor | None
    positions: Tensor
    titles: Tensor  # index of the title that each token belongs to


class Segment(NamedTuple):
    """Places [start, end) of a title's inputs; the targets from `scored` on are scored here."""

    title: int
    start: int
    end: int
    scored: int


def segments(lengths: np.ndarray, context: int) -> list[Segment]:
    """One segment a title; for a title longer than `context`, windows that slide by half of it."""
    found = []
    for title, length in enumerate(lengths.tolist()):
        end = min(length, context)
        found.append(Segment(title, 0, end, 0))
        while end < length:
            scored, end = end, min(end + max(context // 2, 1), length)
            found.append(Segment(title, end - context, end, scored))
    return found


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
        ordered = sorted(segments(encoded.lengths, context), key=lambda segment: segment.end - segment.start)
        rows = _fill_rows(ordered, row_length) if row_length else [[segment] for segment in ordered]
        unscored = [[segment._replace(scored=segment.end) for segment in row] for row in rows[:1]]
        self.batches = _group(rows[rank::world_size] or unscored, batch_tokens)

    @property
    def sizes(self) -> list[int]:
        """The tokens of each batch, padding counted."""
        return [len(rows) * max(map(_length, rows)) for rows in self.batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[ScoringBatch]:
        return (self._batch(rows) for rows in self.batches)

    def _batch(self, rows: list[list[Segment]]) -> ScoringBatch:
        shape = (len(rows), max(_length(row) for row in rows))
        inputs, targets = np.full(shape, self.pad_id), np.full(shape, IGNORED)
        documents, positions, titles = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape, int)
        tokens, offsets = self.encoded.tokens, self.encoded.offsets
        for index, row in enumerate(rows):
            at = 0
            for document, (title, start, end, scored) in enumerate(row):
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
    columns = [column[1:] for column in stream(encoded, np.arange(len(encoded)), eos_id)]
    size = block_size * batch_size
    for start in range(0, len(encoded.tokens) - size, size + 1):
        fields = [column[start : start + size].reshape(batch_size, block_size) for column in columns]
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
    fields = pack(encoded, np.arange(len(encoded)), block_size, pad_id=pad_id, eos_id=eos_id)
    rows = max(batch_tokens // block_size, 1)
    for start in range(0, len(fields.inputs), rows):
        yield TitleBatch(*(torch.from_numpy(field[start : start + rows].astype(np.int64)) for field in fields))


def _length(row: list[Segment]) -> int:
    return sum(segment.end - segment.start for segment in row)


def _fill_rows(ordered: list[Segment], row_length: int) -> list[list[Segment]]:
    """Rows of whole segments, filled in order up to `row_length`; a longer segment has a row of its own."""
    rows: list[list[Segment]] = []
    free = 0
    for segment in ordered:
        length = segment.end - segment.start
        if length > free:
            rows.append([])
            free = row_length
        rows[-1].append(segment)
        free -= length
    return rows


def _group(rows: list[list[Segment]], batch_tokens: int) -> list[list[list[Segment]]]:
    """Batches of rows, padding counted, of at most `batch_tokens` tokens (at least one row)."""
    batches: list[list[list[Segment]]] = []
    longest = 0
    for row in rows:
        longest = max(longest, _length(row))
        if not batches or longest * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
            longest = _length(row)
        batches[-1].append(row)
    return batches
