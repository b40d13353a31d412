"""Examples of tasks on single units: which texts they hold, and how they become a batch."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from frontpage.command.points import Points
from frontpage.data.encoded import EncodedTitles
from frontpage.data.parallel.side import Side

ROUNDED = 8  # rows are as long as the longest text, rounded up to a multiple, so that shapes repeat


class Examples(NamedTuple):
    """E examples of M texts each: a text is a place of a side, in a translation."""

    places: np.ndarray  # (E, M)
    translations: np.ndarray  # (E, M)
    labels: np.ndarray  # (E,) 1.0 or 0.0; of a task without labels 1.0


class PairBatch(NamedTuple):
    """Examples as tokens: each text is a row `<eos> text <eos>`, and padding behind it."""

    tokens: Tensor  # (E, M, T) int64
    lengths: Tensor  # (E, M) int64, both `<eos>` counted
    labels: Tensor  # (E,) float32
    task: str
    tokens_read: int  # tokens that are no padding, over the process's rows
    right_as_well: Tensor | None = None  # (E, k E) of DrawsExamples: k texts of each example are candidates of each

    def some_rows(self, rows: slice) -> "PairBatch":
        """A batch of these examples alone."""
        mask = self.right_as_well
        if mask is not None:
            mask = mask.unflatten(1, (-1, len(mask)))[rows][:, :, rows].flatten(1)
        cut = (field[rows] for field in (self.tokens, self.lengths, self.labels))
        return PairBatch(*cut, self.task, self.tokens_read, mask)


class DrawsExamples(Protocol):
    """What the data ask of a task whose examples are texts that are compared."""

    members: int  # texts of an example
    weight: Points

    def check(self, side: Side, key: str) -> None:
        """Raise a UserError, by the key of the task's node, where a side has no example of the task."""

    def draw(self, side: Side, count: int, draws: np.random.Generator) -> Examples:
        """`count` examples, half of them positive where there are labels."""

    compares: bool  # whether the loss compares the examples of a batch

    def right_as_well(self, examples: Examples, side: Side) -> np.ndarray | None:
        """What a loss that compares the examples of a batch with one another must not call wrong."""

    def chances(self, name: str, examples: Examples, side: Side) -> dict[str, float]:
        """What guessing would score, for each metric of which that is known."""


class Texts:
    """The texts of a side as tokens, cut to `longest` with their two `<eos>`."""

    def __init__(self, side: Side, encoded: EncodedTitles, longest: int, *, eos_id: int, pad_id: int) -> None:
        self.encoded, self.longest, self.eos_id, self.pad_id = encoded, longest, eos_id, pad_id
        self.side = side
        self._rows = np.full(side.has.shape, -1)
        self._rows[side.has] = np.arange(side.has.sum())  # `encoded` has the texts that exist, by translation

    def cut(self) -> int:
        """How many texts are longer than a row."""
        return int((self.encoded.lengths + 1 > self.longest).sum())

    def tokens(self, place: int, translation: int) -> np.ndarray:
        """`<eos> text <eos>` of a text (L,)."""
        row = self._rows[translation, place]
        inside = self.encoded.tokens[self.encoded.offsets[row] : self.encoded.offsets[row + 1] - 1]
        return np.concatenate(([self.eos_id], inside[: self.longest - 2], [self.eos_id])).astype(np.int64)

    def batch(self, examples: Examples, name: str, task: DrawsExamples, chosen: slice = slice(None)) -> PairBatch:
        """Some examples of the task `name` as tensors."""
        examples = Examples(*(part[chosen] for part in examples))
        places, translations = examples.places, examples.translations
        right_as_well = task.right_as_well(examples, self.side)
        rows = [self.tokens(*one) for one in zip(places.ravel(), translations.ravel(), strict=True)]
        lengths = np.array([len(row) for row in rows])
        width = min(-(-int(lengths.max()) // ROUNDED) * ROUNDED, self.longest)
        tokens = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        for row, content in zip(tokens, rows, strict=True):
            row[: len(content)] = content
        return PairBatch(
            torch.from_numpy(tokens).view(*places.shape, width),
            torch.from_numpy(lengths).view(places.shape),
            torch.from_numpy(examples.labels.astype(np.float32)),
            name,
            int(lengths.sum()),
            None if right_as_well is None else torch.from_numpy(right_as_well),
        )
