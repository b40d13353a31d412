"""EpochTitles: what training titles are where an epoch may show them otherwise than another does."""

import hashlib
from typing import Protocol

import numpy as np

from frontpage.data.encoded import EncodedTitles


class EpochTitles(Protocol):
    """The same titles in every epoch, in tokens that may differ."""

    def of(self, epoch: int) -> EncodedTitles:
        """The titles as epoch 0, 1, ... shows them."""

    def tokens_of(self, epoch: int) -> int:
        """How many tokens they have in an epoch, each title's `<eos>` counted."""


class SameTitles:
    """Titles whose tokens are the same in every epoch."""

    def __init__(self, encoded: EncodedTitles) -> None:
        self._encoded = encoded

    def of(self, epoch: int) -> EncodedTitles:
        """The titles, whatever the epoch."""
        return self._encoded

    def tokens_of(self, epoch: int) -> int:
        """Their tokens, whatever the epoch."""
        return len(self._encoded.tokens)


def number_of(text: str) -> int:
    """64 bits that a text always has."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed(states: np.ndarray) -> np.ndarray:
    """Independent uniform bits for each state, uint64: the output of splitmix64 (Steele, Lea and Flood 2014)."""
    states = (states ^ (states >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return states ^ (states >> np.uint64(31))
