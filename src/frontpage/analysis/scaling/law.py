"""Scaling laws: the loss as a function of parameters N, tokens D and operations C, fitted to finished runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frontpage.command.errors import UserError

HUBER = 0.005  # log units: a run that is off by more than half a percent pulls no harder than in proportion
LEAST, MOST = math.log(0.01), math.log(3.0)  # of the logarithm of an exponent
FAR = 60.0  # of the logarithm of any other constant
SAME = 0.02  # sizes closer than this share count as one: an epoch's last batch is shorter


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


EXPONENTS = (0.03, 0.07, 0.15, 0.3, 0.5, 0.8, 1.3)


def _positive_sum(columns: Sequence[np.ndarray], target: np.ndarray) -> np.ndarray:
    """Logarithms of the coefficients c >= 0 with which sum_i c_i exp(columns_i) is nearest exp(target), relatively."""
    from scipy.optimize import nnls

    largest = np.array([(column - target).max() for column in columns])  # keeps the exponentials within range
    matrix = np.stack([np.exp(c - target - most) for c, most in zip(columns, largest, strict=True)], axis=1)
    coefficients, _ = nnls(matrix, np.ones(len(target)))
    return np.clip(np.log(np.maximum(coefficients, 1e-4)) - largest, -FAR, FAR)


@dataclass(frozen=True)
class Fit:
    """A form and its constants; `samples` (draws, constants) are the best ones and the bootstrap's, as logarithms."""

    form: Form
    theta: np.ndarray
    error: float  # root mean square of the logarithmic residuals
    samples: np.ndarray

    def loss(self, *variables: float) -> float:
        """The loss predicted at the form's variables, such as N and D."""
        return math.exp(self._log_loss(self.theta, variables))

    def loss_interval(self, *variables: float) -> tuple[float, float]:
        """(low, high), 95 %, of the expected loss there."""
        return self.interval(lambda theta: self._log_loss(theta, variables))

    def constants(self) -> dict[str, dict[str, float]]:
        """`value`, `low` and `high` (95 %) of each constant."""
        found = {}
        for place, name in enumerate(self.form.constants):
            low, high = self.interval(lambda theta, place=place: float(theta[place]))
            found[name] = {"value": math.exp(self.theta[place]), "low": low, "high": high}
        return found

    def interval(self, logarithm: Callable[[np.ndarray], float]) -> tuple[float, float]:
        """(low, high), 95 %, of a quantity whose logarithm follows from the constants."""
        best = logarithm(self.theta)
        low, high = np.quantile([logarithm(sample) for sample in self.samples], [0.025, 0.975])
        return _exp(min(low, best)), _exp(max(high, best))

    def _log_loss(self, theta: np.ndarray, variables: Sequence[float]) -> float:
        return float(self.form.log_loss(theta, np.log([variables]))[0])


def fit_law(form: Form, variables: np.ndarray, loss: np.ndarray, draws: int = 200, seed: int = 0) -> Fit:
    """Fit `form` to `loss` (runs,) at `variables` (runs, k), all positive: in logarithms, robustly, from many starts.

    The samples are those of a wild bootstrap over the runs (Davidson and Flachaire 2008): each draw moves every run off
    the curve by its own residual times a normal number, so a small grid stays a grid. A residual counts 1 / (1 - h)
    times, for the leverage h with which a run draws the curve to itself. Raises UserError for runs that cannot fix the
    constants, and without scipy.
    """
    need_scipy()
    check_fits(form, variables)
    x, target = np.log(variables), np.log(loss)
    best = _best(form, x, target)
    fitted = form.log_loss(best, x)
    directions, sizes, _ = np.linalg.svd(form.slope(best, x), full_matrices=False)
    leverage = np.sum(directions[:, sizes > 1e-8 * sizes[0]] ** 2, axis=1)
    residuals = (target - fitted) / np.maximum(1 - leverage, 0.1)
    draw = np.random.default_rng(seed).standard_normal((draws, len(x)))
    samples = [_descend(form, best, x, fitted + signs * residuals)[1] for signs in draw]
    error = float(np.sqrt(np.mean((fitted - target) ** 2)))
    return Fit(form, best, error, np.array([best, *samples]))


def left_out_error(form: Form, variables: np.ndarray, loss: np.ndarray) -> float:
    """Root mean square of the logarithmic errors for runs that are left out of the fit, each in its turn.

    Runs without which the others cannot fix the constants are passed over. Raises UserError where that is each.
    """
    errors = []
    for out in range(len(loss)):
        others = np.arange(len(loss)) != out
        if why_not(form, variables[others], spare=1) is None:
            x, target = np.log(variables[others]), np.log(loss[others])
            theta = _best(form, x, target)
            errors.append(float(form.log_loss(theta, np.log(variables[[out]]))[0]) - math.log(loss[out]))
    if not errors:
        raise UserError(f"{form.name}: no run can be left out of {len(loss)}; train more sizes")
    return float(np.sqrt(np.mean(np.square(errors))))


def why_not(form: Form, variables: np.ndarray, spare: int = 2) -> str | None:
    """What the runs lack for a fit of `form`; None if nothing."""
    needed = len(form.constants) + min(spare, form.least_runs - len(form.constants))
    if len(variables) < needed:
        return (
            f"{form.equation} has {len(form.constants)} constants and needs {needed} runs; there are {len(variables)}"
        )
    for column in range(variables.shape[1]):
        found = len(distinct(variables[:, column]))
        if found < form.least_sizes:
            what = "values of " + (form.variable if isinstance(form, PowerLaw) else "ND"[column])
            return f"{form.equation} needs {form.least_sizes} different {what}; there are {found}"
    return None


def check_fits(form: Form, variables: np.ndarray) -> None:
    """Raise a UserError that says what the runs lack for a fit of `form`."""
    lacking = why_not(form, variables)
    if lacking:
        raise UserError(lacking)


def distinct(values: np.ndarray) -> list[float]:
    """The values in order, those within 2 % of the one before counted as one."""
    found: list[float] = []
    for value in np.sort(values):
        if not found or value > found[-1] * (1 + SAME):
            found.append(float(value))
    return found


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

    return _exp(logarithm(fit.theta)), fit.interval(logarithm)


def need_scipy() -> None:
    """Raise a UserError where scipy is missing."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise UserError("scipy is missing: pip install 'frontpage[analysis]' (or make setup)") from error


def _best(form: Form, x: np.ndarray, target: np.ndarray, starts: int = 4) -> np.ndarray:
    """The lowest of the minima below the best of the form's starts."""

    def distance(theta: np.ndarray) -> float:
        return float(np.sum((form.log_loss(theta, x) - target) ** 2))

    ends = (_descend(form, start, x, target) for start in sorted(form.starts(x, target), key=distance)[:starts])
    return min(ends, key=lambda end: end[0])[1]


def _descend(form: Form, start: np.ndarray, x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """(badness, constants) of the nearest minimum of the Huber loss."""
    from scipy.optimize import least_squares

    low, high = form.bounds()
    inner = np.clip(start, low + 1e-9, high - 1e-9)
    options: dict[str, Any] = {"jac": lambda theta: form.slope(theta, x), "x_scale": "jac", "bounds": (low, high)}
    options |= {"loss": "huber", "f_scale": HUBER, "max_nfev": 100}
    end = least_squares(lambda theta: form.log_loss(theta, x) - target, inner, **options)
    return float(end.cost), end.x


def _exp(logarithm: float) -> float:
    """The exponential, infinite where it is too large for a number."""
    return math.exp(logarithm) if logarithm < 700 else math.inf
