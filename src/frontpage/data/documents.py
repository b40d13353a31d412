"""What a text is to a net: each title by itself, or titles one after the other, each closed by its `<eos>`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_titles import EpochTitles
from frontpage.data.text_sizes import TextSizes


class Documents(Protocol):
    """How n titles, in their order, make m documents."""

    def encoded(self, titles: EncodedTitles) -> EncodedTitles:
        """The documents of n encoded titles: the same tokens, m offsets apart."""

    def changing(self, titles: EpochTitles) -> EpochTitles:
        """The same of titles that differ by epoch."""

    def sums(self, values: Tensor) -> Tensor:
        """Of values of the titles (n,) their sums over each document, (m,)."""

    def sizes(self, titles: TextSizes) -> TextSizes:
        """How long the documents are, every title's end counted."""

    def texts(self, titles: Sequence[str]) -> list[str]:
        """What tells the documents apart: of each its titles, a line each."""

    def with_any(self, marks: np.ndarray) -> np.ndarray:
        """Which documents have a marked title, (m,) bool, from the marks of the titles, (n,) bool."""

    def fingerprint(self, of_titles: str) -> str:
        """A digest of titles, changed where documents differ."""


class Apart:
    """Each title is a document of its own."""

    def encoded(self, titles: EncodedTitles) -> EncodedTitles:
        """The titles."""
        return titles

    def changing(self, titles: EpochTitles) -> EpochTitles:
        """The titles."""
        return titles

    def sums(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def sizes(self, titles: TextSizes) -> TextSizes:
        """Those of the titles."""
        return titles

    def texts(self, titles: Sequence[str]) -> list[str]:
        """The titles."""
        return list(titles)

    def with_any(self, marks: np.ndarray) -> np.ndarray:
        """The marks."""
        return marks

    def fingerprint(self, of_titles: str) -> str:
        """That of the titles."""
        return of_titles


APART = Apart()


@dataclass(frozen=True)
class Joined:
    """Document i has the titles `starts[i]` up to `starts[i + 1]`; the last start is the number of titles."""

    starts: np.ndarray  # (documents + 1,) int64

    def __len__(self) -> int:
        return len(self.starts) - 1

    def encoded(self, titles: EncodedTitles) -> EncodedTitles:
        """The same tokens, cut between documents alone."""
        return EncodedTitles(titles.tokens, titles.offsets[self.starts])

    def changing(self, titles: EpochTitles) -> EpochTitles:
        """The same of titles that differ by epoch."""
        return JoinedEpochs(titles, self)

    def sums(self, values: Tensor) -> Tensor:
        """Sums over each document, (documents,)."""
        places = torch.from_numpy(np.repeat(np.arange(len(self)), np.diff(self.starts)))
        return values.new_zeros(len(self)).index_add_(0, places, values)

    def sizes(self, titles: TextSizes) -> TextSizes:
        """How long the documents are, every title's end counted."""
        return TextSizes(self.sums(titles.characters), self.sums(titles.bytes), self.sums(titles.tokens))

    def texts(self, titles: Sequence[str]) -> list[str]:
        """Of each document its titles, a line each."""
        return ["\n".join(titles[start:end]) for start, end in zip(self.starts[:-1], self.starts[1:], strict=True)]

    def with_any(self, marks: np.ndarray) -> np.ndarray:
        """Which documents have a marked title, (documents,) bool."""
        return np.logical_or.reduceat(marks, self.starts[:-1])

    def fingerprint(self, of_titles: str) -> str:
        """A digest of the titles' and of where documents begin."""
        digest = hashlib.blake2b(of_titles.encode(), digest_size=16)
        digest.update(self.starts.astype("<i8").tobytes())
        return digest.hexdigest()


class JoinedEpochs:
    """The documents of titles that differ by epoch."""

    def __init__(self, titles: EpochTitles, documents: Joined) -> None:
        self._titles, self._documents = titles, documents

    def of(self, epoch: int) -> EncodedTitles:
        """The documents as epoch 0, 1, ... shows them."""
        return self._documents.encoded(self._titles.of(epoch))

    def tokens_of(self, epoch: int) -> int:
        """Their tokens in an epoch, each title's `<eos>` counted."""
        return self._titles.tokens_of(epoch)
