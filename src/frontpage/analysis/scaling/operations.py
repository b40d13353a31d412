"""Operations C: what runs cost, which runs no cheaper one equals, and the size with which a budget buys most."""

import math
from dataclasses import dataclass

import numpy as np

from frontpage.analysis.scaling.fit import Fit, exponential


def frontier(flops: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The places of the runs that no cheaper one equals, the cheapest first."""
    order = np.argsort(flops, kind="stable")
    return np.array([place for rank, place in enumerate(order) if rank == 0 or loss[place] < loss[order[:rank]].min()])


@dataclass(frozen=True)
class Cost:
    """Operations a token, `factor` times N to the `power`: 6 N for large models, more where N leaves embeddings out."""

    factor: float = 6.0
    power: float = 1.0

    @classmethod
    def of(cls, parameters: np.ndarray, flops_per_token: np.ndarray) -> "Cost":
        """What measured runs cost, by least squares in logarithms."""
        power, factor = np.polyfit(np.log(parameters), np.log(flops_per_token), 1)
        return cls(math.exp(factor), float(power))

    def tokens(self, parameters: float, flops: float) -> float:
        """Tokens that a model of `parameters` can see for `flops`."""
        return flops / (self.factor * parameters**self.power)


def best_size(fit: Fit, flops: float, cost: Cost) -> tuple[float, tuple[float, float]]:
    """(parameters, 95 % interval) with the lowest loss that `flops` operations buy.

    With D = C / (k N^q) the derivative of a / N^alpha + b / D^beta is zero at
    N^(alpha + q beta) = alpha a / (q beta b) (C / k)^beta.
    """

    def logarithm(theta: np.ndarray) -> float:
        a, alpha, b, beta = fit.form.terms(theta)
        balance = math.log(alpha / (cost.power * beta)) + a - b + beta * math.log(flops / cost.factor)
        return balance / (alpha + cost.power * beta)

    return exponential(logarithm(fit.theta)), fit.interval(logarithm)
