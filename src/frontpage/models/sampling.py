"""From a model's scores to the next token: small pure functions of rows (N, V), and the order in which they apply.

The order is that of Hugging Face's `generate`: repetition penalty, temperature, top-k, top-p, min-p. Each filter sees
what the one before it has left. A score of minus infinity is a token that cannot be drawn.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Range(NamedTuple):
    """The values that a setting may have, and the words for them."""

    allowed: str
    holds: Callable[[Any], bool]
    kind: type = float
    optional: bool = False  # None switches it off


RANGES = {
    "temperature": Range("at least 0", lambda value: 0 <= value < math.inf),
    "top_k": Range("a whole number, at least 1", lambda value: value >= 1, int, optional=True),
    "top_p": Range("above 0, at most 1", lambda value: 0 < value <= 1, optional=True),
    "min_p": Range("at least 0, below 1", lambda value: 0 <= value < 1, optional=True),
    "repetition_penalty": Range("above 0", lambda value: 0 < value < math.inf),
}


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: 1 is the `temperature` as learned, 0 takes the likeliest; None leaves a filter out.

    A `repetition_penalty` above 1 makes tokens that a title has already less likely. Raises ValueError.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not fits(name, value):
                raise ValueError(f"{name}={value}: {RANGES[name].allowed}")

    def probabilities(self, scores: Tensor, seen: Tensor) -> Tensor:
        """What is drawn from, (N, V) float64, given the model's logits (N, V) and the tokens `seen` (N, V) bool."""
        scores = scores.double()
        if self.repetition_penalty != 1:
            scores = penalise_repetition(scores, seen, self.repetition_penalty)
        if self.temperature == 0:
            return torch.nn.functional.one_hot(scores.argmax(dim=1), scores.shape[1]).double()
        # The largest is taken off first, so that a temperature near 0 makes minus infinity of the others at most.
        scores = (scores - scores.amax(dim=1, keepdim=True)) / self.temperature
        if self.top_k is not None:
            scores = keep_top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = keep_top_p(scores, self.top_p)
        if self.min_p is not None:
            scores = keep_min_p(scores, self.min_p)
        return scores.softmax(dim=1)


def fits(name: str, value: object) -> bool:
    """Whether a setting may have this value."""
    limits = RANGES[name]
    if value is None:
        return limits.optional
    kinds = (int,) if limits.kind is int else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and limits.holds(value)


def penalise_repetition(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (N, V) with those of `seen` tokens (N, V) divided by `penalty`, or multiplied where they are negative.

    CTRL (Keskar et al. 2019, arXiv 1909.05858, section 4.1), in Hugging Face's form for negative logits.
    """
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Scores (N, V) with all but the `k` highest of a row at minus infinity; what equals the last of them stays."""
    least = scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1:]
    return scores.masked_fill(scores < least, -torch.inf)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """Scores (N, V) of the fewest tokens whose probabilities reach `p` together; the others at minus infinity.

    Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751, section 3.1). Of equal tokens the lower id goes first.
    """
    if p >= 1:
        return scores  # the sums below are rounded, and would leave out the least likely
    ordered, order = scores.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(dim=1) - ordered
    removed = torch.zeros_like(scores, dtype=torch.bool).scatter(1, order, before >= p)
    return scores.masked_fill(removed, -torch.inf)


def keep_min_p(scores: Tensor, p: float) -> Tensor:
    """Scores (N, V) of the tokens at least `p` times as likely as the likeliest; the others at minus infinity.

    Min-p sampling (Nguyen et al. 2024, arXiv 2407.01082, section 3).
    """
    shares = scores.softmax(dim=1)
    return scores.masked_fill(shares < p * shares.amax(dim=1, keepdim=True), -torch.inf)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One token for each row of (N, V), from a number in [0, 1) for each (N,), by the inverse of the summed rows: (N,).

    A token of probability 0 is never drawn.
    """
    summed = probabilities.double().cumsum(dim=1)
    total = summed[:, -1]
    aim = torch.minimum(uniform.double() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(summed, aim[:, None], right=True)[:, 0]
