"""RecasedTitles: titles of which a share is shown in the other capitalisation, another share in every epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from frontpage.command.limits import Limit
from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_titles import EpochTitles, mixed, number_of


class Shares(Limit):
    """A number from 0 to 1, or a list of them, one an epoch."""

    words = "from 0 to 1; a list has one for each epoch, the last for all that follow, such as [0.5,0.5,0]"

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the two."""
        if isinstance(value, Sequence):
            return len(value) > 0 and all(0 <= one <= 1 for one in value)
        return 0 <= value <= 1


class RecasedTitles:
    """Of `plain` and `other`, the same titles in both capitalisations, one for each title and epoch.

    It is `other` with the probability `shares[epoch]`, the last of them for all epochs that follow; what is drawn
    depends on (seed, epoch, title) alone.
    """

    def __init__(
        self, plain: EpochTitles, other: EpochTitles, titles: Sequence[str], shares: Sequence[float], seed: int
    ) -> None:
        self._both, self._shares, self._seed = (plain, other), shares, seed
        self._names = np.array([number_of(f"case {title}") for title in titles], dtype=np.uint64)
        self._counts: dict[int, int] = {}
        self._newest: tuple[int, EncodedTitles] | None = None

    def of(self, epoch: int) -> EncodedTitles:
        """The titles as epoch 0, 1, ... shows them."""
        if self._newest is None or self._newest[0] != epoch:
            self._newest = (epoch, _chosen(*(titles.of(epoch) for titles in self._both), self.drawn(epoch)))
            self._counts[epoch] = len(self._newest[1].tokens)
        return self._newest[1]

    def tokens_of(self, epoch: int) -> int:
        """How many tokens the titles have in an epoch, each title's `<eos>` counted."""
        return self._counts[epoch] if epoch in self._counts else len(self.of(epoch).tokens)

    def drawn(self, epoch: int) -> np.ndarray:
        """(titles,) True where an epoch shows the other capitalisation."""
        share = self._shares[min(epoch, len(self._shares) - 1)]
        return mixed(self._names ^ np.uint64(number_of(f"{self._seed} {epoch}"))) / 2.0**64 < share


def _chosen(plain: EncodedTitles, other: EncodedTitles, drawn: np.ndarray) -> EncodedTitles:
    """The titles of `other` where `drawn`, those of `plain` elsewhere."""
    offsets = np.concatenate([[0], np.cumsum(np.where(drawn, other.lengths, plain.lengths))])
    tokens = np.empty(offsets[-1], dtype=plain.tokens.dtype)
    of_other = np.repeat(drawn, np.diff(offsets))
    tokens[of_other] = other.tokens[np.repeat(drawn, other.lengths)]
    tokens[~of_other] = plain.tokens[np.repeat(~drawn, plain.lengths)]
    return EncodedTitles(tokens, offsets)
