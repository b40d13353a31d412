"""Titles of known tokens, for the tests of packing, loading and scoring."""

import numpy as np

from frontpage.data.encoded import EncodedTitles

PAD, EOS = 0, 1


def random_titles(count: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Titles of 1 to `longest` tokens; the last is EOS, and no other token occurs twice."""
    lengths = np.random.default_rng(seed).integers(1, longest + 1, size=count)
    tokens = iter(range(3, 3 + int(lengths.sum())))
    return [[next(tokens) for _ in range(length - 1)] + [EOS] for length in lengths]


def encode(titles: list[list[int]]) -> EncodedTitles:
    """The titles as the arrays that the project keeps."""
    tokens = np.array([token for title in titles for token in title], dtype=np.uint32)
    return EncodedTitles(tokens, np.array([0, *np.cumsum([len(title) for title in titles])]))
