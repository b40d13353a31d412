"""How much one token tells of another, by the distance between them."""

from typing import NamedTuple

import numpy as np

from frontpage.data.encoded import EncodedTitles


class Dependence(NamedTuple):
    """Mutual information in nats: as counted, and what the same counts give where nothing depends on anything."""

    counted: float
    by_chance: float  # mean over shufflings of one side
    spread: float  # their standard deviation

    @property
    def beyond_chance(self) -> float:
        """What is left when the bias of finite counts is taken off, in nats."""
        return self.counted - self.by_chance


def mutual_information(left: np.ndarray, right: np.ndarray, kinds: int) -> float:
    """The plug-in estimate in nats from N pairs of whole numbers below `kinds`; too large by about kinds^2 / 2 N."""
    joint = np.bincount(left.astype(np.int64) * kinds + right, minlength=kinds**2).reshape(kinds, kinds) / len(left)
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())


def dependence(left: np.ndarray, right: np.ndarray, kinds: int, shuffles: int = 5, seed: int = 0) -> Dependence:
    """Mutual information beside that of shuffled pairs, which have the same margins and the same number of counts."""
    random = np.random.default_rng(seed)
    chance = [mutual_information(left, random.permutation(right), kinds) for _ in range(shuffles)]
    return Dependence(mutual_information(left, right, kinds), float(np.mean(chance)), float(np.std(chance)))


def common_tokens(encoded: EncodedTitles, kinds: int) -> np.ndarray:
    """Each token as its rank among the commonest, all rarer ones as `kinds` - 1: fewer kinds, less bias. (tokens,)

    What is merged can only lose information (data processing), so the result is a lower bound.
    """
    counts = np.bincount(encoded.tokens)
    ranks = np.full(len(counts), kinds - 1, dtype=np.int64)
    commonest = np.argsort(-counts, kind="stable")[: kinds - 1]
    ranks[commonest] = np.arange(len(commonest))
    return ranks[encoded.tokens]


def pairs_within(encoded: EncodedTitles, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of two tokens of one title, `distance` apart, the title's `<eos>` left out; both (pairs,)."""
    title = np.repeat(np.arange(len(encoded)), encoded.lengths)
    title[encoded.offsets[1:] - 1] = -1  # the ends
    first = np.flatnonzero((title[:-distance] == title[distance:]) & (title[:-distance] >= 0))
    return first, first + distance


def pairs_across(encoded: EncodedTitles) -> tuple[np.ndarray, np.ndarray]:
    """Places of the last token of a title and the first of the next; both (pairs,)."""
    full = np.flatnonzero(encoded.lengths > 1)
    return encoded.offsets[full[:-1] + 1] - 2, encoded.offsets[full[1:]]
