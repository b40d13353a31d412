"""Titles of known tokens, for the tests of packing, loading and scoring, and rows to select from."""

import random

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


def random_rows(generator: random.Random) -> list[str]:
    """Rows with repeats, blanks of every kind around and inside, and blank rows."""
    words = ["a", "b", "a b", "a  b", "A", "é", "e\u0301", "日本", "", "x\u2028y"]
    around = ["", " ", "\t", "\n", "\u00a0", "\u2003 "]
    count = generator.randint(1, 200)
    numbered = generator.randint(1, 100)
    return [
        generator.choice(around)
        + generator.choice([generator.choice(words), f"title {generator.randrange(numbered)}"])
        + generator.choice(around)
        for _ in range(count)
    ]
