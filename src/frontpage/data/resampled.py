"""ResampledTitles: titles whose tokens are drawn anew in every epoch (subword regularisation)."""

from collections.abc import Sequence

import numpy as np

from frontpage.data.encoded import EncodedTitles, token_type
from frontpage.data.epoch_titles import mixed, number_of
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.data.tokenizer.lattice import BITS, Lattices

STEP = np.uint64(0x9E3779B97F4A7C15)  # between the states of splitmix64


class ResampledTitles:
    """Titles in tokens of a unigram tokenizer, each title's drawn with P^alpha among all that spell it.

    Kudo 2018, "Subword regularization": a large `alpha` gives the best ones, 0 makes all equally likely. What is drawn
    depends on (seed, epoch, title) alone, not on the other titles. Raises ValueError for another tokenizer.
    """

    def __init__(self, tokenizer: TitleTokenizer, titles: Sequence[str], alpha: float, seed: int) -> None:
        pieces = tokenizer.pieces()
        if pieces is None:
            raise ValueError("only a unigram tokenizer has probabilities of its pieces")
        places: dict[str, int] = {}
        words = [[places.setdefault(word, len(places)) for word in tokenizer.words(title)] for title in titles]
        self._lattices = Lattices(list(places), pieces, alpha)
        self._seed, self._eos = seed, tokenizer.eos_id
        self._type = token_type(tokenizer)
        # A slot for each letter of each title, where a piece may end, and one for its <eos>.
        self._words = np.array([word for of in words for word in of], dtype=np.int64)
        title = np.repeat(np.arange(len(titles)), [len(of) for of in words])
        letters = self._lattices.last[self._words] - self._lattices.first[self._words] + 1
        slots = 1 + np.bincount(title, letters, minlength=len(titles)).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(slots)])
        self._ends = np.cumsum(letters) - 1 + title  # of each word
        names = np.array([number_of(text) for text in titles], dtype=np.uint64)
        self._states = (names - self._starts[:-1].astype(np.uint64) * STEP)[title]
        self._counts: dict[int, int] = {}
        self._newest: tuple[int, EncodedTitles] | None = None

    def of(self, epoch: int) -> EncodedTitles:
        """The titles with the tokens of epoch 0, 1, ..."""
        if self._newest is None or self._newest[0] != epoch:
            tokens = self._draw(epoch)
            there = tokens >= 0
            offsets = np.concatenate([[0], np.cumsum(there)])[self._starts]
            self._newest = (epoch, EncodedTitles(tokens[there].astype(self._type), offsets))
            self._counts[epoch] = int(offsets[-1])
        return self._newest[1]

    def tokens_of(self, epoch: int) -> int:
        """How many tokens the titles have in an epoch, each title's `<eos>` counted."""
        return self._counts[epoch] if epoch in self._counts else len(self.of(epoch).tokens)

    def _draw(self, epoch: int) -> np.ndarray:
        """(slots,) the token that ends in each slot, or -1: all words at once, piece by piece from their ends."""
        tokens = np.full(self._starts[-1], -1, dtype=np.int64)
        tokens[self._starts[1:] - 1] = self._eos
        slots, states, first = self._ends, self._states, self._lattices.first[self._words]
        places, key = self._lattices.last[self._words], np.uint64(number_of(f"{self._seed} {epoch}"))
        while len(slots):
            draws = mixed((states + slots.astype(np.uint64) * STEP) ^ key) >> np.uint64(64 - BITS)
            tokens[slots], sizes = self._lattices.draw(places, draws.astype(np.int64))
            slots, places = slots - sizes, places - sizes
            more = places >= first
            slots, places, states, first = slots[more], places[more], states[more], first[more]
        return tokens
