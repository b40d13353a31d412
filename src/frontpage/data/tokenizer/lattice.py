"""Lattices: every way to write words in the pieces of a unigram model, and draws of one of them."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

BITS = 32  # of a draw


class Lattices:
    """All segmentations x of each of some words, of which one is drawn with a probability proportional to P(x)^alpha.

    `pieces` has the token and the log probability of each piece; P(x) is the product over the pieces of x. A place is
    the end of a letter: those of word w are `first[w]` and the places after it. Forward filtering, backward sampling
    (Kudo 2018, section 3.1, with l = infinity): the sums over all beginnings of a word are made here, so that from its
    end each piece can be drawn by itself. Raises KeyError for a letter that is no piece.
    """

    def __init__(self, words: Sequence[str], pieces: Mapping[str, tuple[int, float]], alpha: float) -> None:
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        self.first = np.cumsum(lengths) - lengths
        self.last = self.first + lengths - 1
        longest = max(map(len, pieces), default=0)
        tokens, sizes, upper = [], [], []
        place = 0
        for word in words:
            beginnings = [0.0]  # log of the sum over all ways to write the letters up to each place
            for end in range(1, len(word) + 1):
                weights = []
                for size in range(1, min(longest, end) + 1):
                    found = pieces.get(word[end - size : end])
                    if found is not None:
                        tokens.append(found[0])
                        sizes.append(size)
                        weights.append(beginnings[end - size] + alpha * found[1])
                if not weights:
                    raise KeyError(word[end - 1])
                most = max(weights)
                sums = list(accumulate(math.exp(weight - most) for weight in weights))
                upper += [(place << BITS) + round(part / sums[-1] * 2**BITS) for part in sums]
                beginnings.append(most + math.log(sums[-1]))
                place += 1
        self._tokens, self._sizes = np.array(tokens, dtype=np.int64), np.array(sizes, dtype=np.int64)
        self._upper = np.array(upper, dtype=np.int64)

    def draw(self, places: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The token of the piece that ends at each place (N,), and its letters; `draws` (N,) are below 2**BITS."""
        chosen = np.searchsorted(self._upper, (places << BITS) | draws, side="right")
        return self._tokens[chosen], self._sizes[chosen]
