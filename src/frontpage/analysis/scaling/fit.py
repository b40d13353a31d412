"""A scaling law fitted to finished runs: its constants with intervals, its errors, and what runs lack for it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frontpage.analysis.scaling.forms import Form, PowerLaw
from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.command.progress_line import watched

HUBER = 0.005  # log units: a run that is off by more than half a percent pulls no harder than in proportion
SAME = 0.02  # sizes closer than this share count as one: an epoch's last batch is shorter


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
        return exponential(min(low, best)), exponential(max(high, best))

    def _log_loss(self, theta: np.ndarray, variables: Sequence[float]) -> float:
        return float(self.form.log_loss(theta, np.log([variables]))[0])


def fit_law(form: Form, variables: np.ndarray, loss: np.ndarray, draws: int = 200, seed: int = 0) -> Fit:
    """Fit `form` to `loss` (runs,) at `variables` (runs, k), all positive: in logarithms, robustly, from many starts.

    The samples are those of a wild bootstrap (Davidson and Flachaire 2008): each draw moves every run off the curve by
    its own residual times a normal number, the same for runs of one size (seeds), so a small grid stays a grid. A
    residual counts 1 / (1 - h) times, for the leverage h with which a run draws the curve to itself. Raises UserError
    for runs that cannot fix the constants, and without scipy.
    """
    need_scipy()
    check_fits(form, variables)
    x, target = np.log(variables), np.log(loss)
    best = _best(form, x, target)
    fitted = form.log_loss(best, x)
    directions, sizes, _ = np.linalg.svd(form.slope(best, x), full_matrices=False)
    leverage = np.sum(directions[:, sizes > 1e-8 * sizes[0]] ** 2, axis=1)
    residuals = (target - fitted) / np.maximum(1 - leverage, 0.1)
    places = same_sizes(variables)
    draw = np.random.default_rng(seed).standard_normal((draws, max(places) + 1))[:, places]
    shown = watched(draw, f"intervals of {form.equation}", [1] * draws)
    samples = [_descend(form, best, x, fitted + signs * residuals)[1] for signs in shown]
    error = float(np.sqrt(np.mean((fitted - target) ** 2)))
    return Fit(form, best, error, np.array([best, *samples]))


def left_out_errors(form: Form, variables: np.ndarray, loss: np.ndarray) -> dict[int, float]:
    """The logarithmic error for each run, by its place, where its size is left out of the fit.

    Runs without which the others cannot fix the constants are passed over.
    """
    errors, places = {}, same_sizes(variables)
    for out in watched(range(len(loss)), f"{form.equation} without a run", [1] * len(loss)):
        others = places != places[out]
        if why_not(form, variables[others], spare=1) is None:
            x, target = np.log(variables[others]), np.log(loss[others])
            theta = _best(form, x, target)
            errors[out] = float(form.log_loss(theta, np.log(variables[[out]]))[0]) - math.log(loss[out])
    return errors


def why_not(form: Form, variables: np.ndarray, spare: int = 2) -> str | None:
    """What the runs lack for a fit of `form`; None if nothing."""
    needed = len(form.constants) + min(spare, form.least_runs - len(form.constants))
    there = len({*same_sizes(variables)})
    if there < needed:
        return (
            f"{form.equation} has {len(form.constants)} constants and needs {needed} runs of different sizes or tokens;"
            f" there are {there}"
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


def same_sizes(variables: np.ndarray) -> np.ndarray:
    """(runs,) numbers from 0 on, the same for runs whose variables (runs, k) differ by less than 2 %: seeds of one."""
    columns = [[sum(one <= value for one in distinct(column)) for value in column] for column in variables.T]
    found: dict[tuple[int, ...], int] = {}
    return np.array([found.setdefault(place, len(found)) for place in zip(*columns, strict=True)], dtype=int)


def distinct(values: np.ndarray) -> list[float]:
    """The values in order, those within 2 % of the one before counted as one."""
    found: list[float] = []
    for value in np.sort(values):
        if not found or value > found[-1] * (1 + SAME):
            found.append(float(value))
    return found


def need_scipy() -> None:
    """Raise a UserError where scipy is missing."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise UserError(f"scipy is missing: {installing('analysis')}") from error


def exponential(logarithm: float) -> float:
    """The exponential, infinite where it is too large for a number."""
    return math.exp(logarithm) if logarithm < 700 else math.inf


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
