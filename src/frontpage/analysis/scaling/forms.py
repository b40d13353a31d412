"""The forms of a scaling law: formulas for the loss of parameters N, tokens D or operations C."""

import math
from collections.abc import Sequence

import numpy as np

LEAST, MOST = math.log(0.01), math.log(3.0)  # of the logarithm of an exponent
FAR = 60.0  # of the logarithm of any other constant
EXPONENTS = (0.03, 0.07, 0.15, 0.3, 0.5, 0.8, 1.3)  # with which fits begin


class Form:
    """A formula for the loss, its constants all positive and handled as their logarithms, `theta`.

    `x` is (runs, variables), the logarithms of what the loss depends on.
    """

    name: str
    equation: str
    constants: tuple[str, ...]
    exponents: tuple[str, ...]
    least_sizes: int  # distinct values that each variable needs

    @property
    def least_runs(self) -> int:
        """Runs that a fit needs: one a constant, and two by which to judge it."""
        return len(self.constants) + 2

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The logarithm of the loss, (runs,)."""
        raise NotImplementedError

    def slope(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Its derivatives by the constants' logarithms, (runs, constants)."""
        raise NotImplementedError

    def starts(self, x: np.ndarray, log_loss: np.ndarray) -> list[np.ndarray]:
        """Where fits begin: a grid of exponents, and the best other constants for each."""
        raise NotImplementedError

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest logarithm of each constant."""
        kinds = [name in self.exponents for name in self.constants]
        return np.where(kinds, LEAST, -FAR), np.where(kinds, MOST, FAR)


class PowerLaw(Form):
    """(X_c / X)^alpha in one variable X (Kaplan et al. 2020, equations 1.1 to 1.3)."""

    least_sizes = 3

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.name, self.equation = f"L({variable})", f"({variable}_c / {variable})^alpha_{variable}"
        self.constants = (f"{variable}_c", f"alpha_{variable}")
        self.exponents = (f"alpha_{variable}",)

    @property
    def least_runs(self) -> int:
        """Three: a straight line, and one to judge it by."""
        return 3

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """A straight line in x[:, 0]."""
        return np.exp(theta[1]) * (theta[0] - x[:, 0])

    def slope(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(runs, 2)."""
        alpha = np.exp(theta[1])
        return np.stack([np.full(len(x), alpha), alpha * (theta[0] - x[:, 0])], axis=1)

    def starts(self, x: np.ndarray, log_loss: np.ndarray) -> list[np.ndarray]:
        """The line of least squares; flat where the loss does not fall."""
        slope, level = np.polyfit(x[:, 0], log_loss, 1)
        alpha = float(np.clip(-slope, math.exp(LEAST), math.exp(MOST)))
        return [np.array([np.clip(level / alpha, -FAR, FAR), math.log(alpha)])]


class TwoTerms(Form):
    """A transform of the loss is a sum of a term in N and one in D; `x` is (runs, 2): log N, log D."""

    def terms(self, theta: np.ndarray) -> tuple[float, float, float, float]:
        """(log a, alpha, log b, beta) of what the best size minimises: a / N^alpha + b / D^beta."""
        raise NotImplementedError


class Kaplan(TwoTerms):
    """Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5: without data or size enough, the loss has no limit but 0."""

    name = "kaplan"
    equation = "[(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D"
    constants = ("N_c", "alpha_N", "D_c", "alpha_D")
    exponents = ("alpha_N", "alpha_D")
    least_sizes = 2

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Equation 1.5 in logarithms."""
        ratio = np.exp(theta[1] - theta[3])
        return np.exp(theta[3]) * np.logaddexp(ratio * (theta[0] - x[:, 0]), theta[2] - x[:, 1])

    def slope(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(runs, 4)."""
        alpha_d, ratio = np.exp(theta[3]), np.exp(theta[1] - theta[3])
        size, data = ratio * (theta[0] - x[:, 0]), theta[2] - x[:, 1]
        both = np.logaddexp(size, data)
        share = np.exp(size - both)
        columns = [share * ratio, share * size, np.exp(data - both), both - share * size]
        return alpha_d * np.stack(columns, axis=1)

    def starts(self, x: np.ndarray, log_loss: np.ndarray) -> list[np.ndarray]:
        """For given exponents L^(1/alpha_D) is linear in the two terms."""
        found = []
        for alpha_n in EXPONENTS:
            for alpha_d in EXPONENTS:
                ratio = alpha_n / alpha_d
                scale = log_loss / alpha_d
                columns = [-ratio * x[:, 0], -x[:, 1]]
                level, limit = _positive_sum(columns, scale)
                found.append(np.array([level / ratio, math.log(alpha_n), limit, math.log(alpha_d)]))
        return found

    def terms(self, theta: np.ndarray) -> tuple[float, float, float, float]:
        """Of L^(1/alpha_D)."""
        ratio = float(np.exp(theta[1] - theta[3]))
        return ratio * float(theta[0]), ratio, float(theta[2]), 1.0


class Hoffmann(TwoTerms):
    """Hoffmann et al. 2022 (arXiv 2203.15556), equation 2: a loss E that neither size nor data takes away."""

    name = "hoffmann"
    equation = "E + A/N^alpha + B/D^beta"
    constants = ("E", "A", "alpha", "B", "beta")
    exponents = ("alpha", "beta")
    least_sizes = 3

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Equation 2 in logarithms, as their appendix D.2 fits it."""
        size = theta[1] - np.exp(theta[2]) * x[:, 0]
        data = theta[3] - np.exp(theta[4]) * x[:, 1]
        return np.logaddexp(np.logaddexp(theta[0], size), data)

    def slope(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(runs, 5)."""
        alpha, beta = np.exp(theta[2]), np.exp(theta[4])
        terms = np.stack([np.full(len(x), theta[0]), theta[1] - alpha * x[:, 0], theta[3] - beta * x[:, 1]])
        limit, size, data = np.exp(terms - self.log_loss(theta, x))
        return np.stack([limit, size, -size * alpha * x[:, 0], data, -data * beta * x[:, 1]], axis=1)

    def starts(self, x: np.ndarray, log_loss: np.ndarray) -> list[np.ndarray]:
        """For given exponents the loss is linear in E, A and B."""
        found = []
        for alpha in EXPONENTS:
            for beta in EXPONENTS:
                columns = [np.zeros(len(x)), -alpha * x[:, 0], -beta * x[:, 1]]
                limit, size, data = _positive_sum(columns, log_loss)
                found.append(np.array([limit, size, math.log(alpha), data, math.log(beta)]))
        return found

    def terms(self, theta: np.ndarray) -> tuple[float, float, float, float]:
        """Those of the formula."""
        return float(theta[1]), float(np.exp(theta[2])), float(theta[3]), float(np.exp(theta[4]))


def _positive_sum(columns: Sequence[np.ndarray], target: np.ndarray) -> np.ndarray:
    """Logarithms of the coefficients c >= 0 with which sum_i c_i exp(columns_i) is nearest exp(target), relatively."""
    from scipy.optimize import nnls

    largest = np.array([(column - target).max() for column in columns])  # keeps the exponentials within range
    matrix = np.stack([np.exp(c - target - most) for c, most in zip(columns, largest, strict=True)], axis=1)
    coefficients, _ = nnls(matrix, np.ones(len(target)))
    return np.clip(np.log(np.maximum(coefficients, 1e-4)) - largest, -FAR, FAR)
