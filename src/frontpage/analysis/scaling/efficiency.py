"""Sample efficiency of larger models (Kaplan et al. 2020, figure 2): tokens that each size needs to reach one loss.

A law that falls with N says so by its form, so no fit is asked: only the runs of a size, between which is interpolated.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from frontpage.analysis.scaling.fit import distinct
from frontpage.analysis.scaling.points import Point
from frontpage.analysis.scaling.spread import Spread, cells_of, level, mean_log

LEAST_SIZES = 3  # a line over the sizes, and one to judge it by
ROUNDING = 1e-9  # of a logarithm


class Curve(NamedTuple):
    """The losses of a size by the tokens of its runs, both as logarithms, in order of tokens."""

    parameters: float
    tokens: np.ndarray  # (lengths,)
    loss: np.ndarray  # (lengths,), of the mean over seeds
    runs: np.ndarray  # (lengths,): seeds

    def reaches(self, loss: float) -> bool:
        """Whether the runs of the size are above a loss and below it, so that its tokens can be interpolated."""
        return bool(self.loss.min() - ROUNDING <= math.log(loss) <= self.loss[0] + ROUNDING)

    def tokens_to(self, loss: float, losses: np.ndarray | None = None) -> float:
        """The logarithm of the tokens at which the line through `losses`, those measured, first has a loss.

        Beyond its ends the line goes on as its last piece does; NaN where it does not fall there.
        """
        y, x, target = self.loss if losses is None else losses, self.tokens, math.log(loss)
        below = np.flatnonzero(y <= target)
        after = max(int(below[0]), 1) if len(below) else len(y) - 1
        fall = y[after - 1] - y[after]
        return (
            float(x[after - 1] + (y[after - 1] - target) / fall * (x[after] - x[after - 1])) if fall > 0 else math.nan
        )


def curves_of(points: Sequence[Point]) -> list[Curve]:
    """The curve of each size that was trained for two lengths or more, the smallest size first."""
    sizes = distinct(np.array([point.parameters for point in points], dtype=float)) if points else []
    curves = []
    for size in sizes:
        cells = cells_of([point for point in points if level(point.parameters, sizes) == size])
        cells.sort(key=lambda cell: cell[0].tokens)
        tokens = np.log([np.mean([point.tokens for point in cell]) for cell in cells])
        if len(tokens) > 1 and (np.diff(tokens) > 0.02).all():  # else shapes or rates are mixed
            curves.append(Curve(size, tokens, np.array([*map(mean_log, cells)]), np.array([*map(len, cells)])))
    return curves


def common_loss(curves: Sequence[Curve]) -> float | None:
    """The lowest of the losses that the most sizes reach; None where fewer than LEAST_SIZES reach one."""
    ends = [math.exp(curve.loss.min()) for curve in curves]
    best = max(ends, key=lambda loss: (sum(curve.reaches(loss) for curve in curves), -loss), default=None)
    return best if best and sum(curve.reaches(best) for curve in curves) >= LEAST_SIZES else None


def sample_efficiency(
    points: Sequence[Point], spread: Spread | None, draws: int = 200, seed: int = 0, loss: float | None = None
) -> dict[str, Any] | None:
    """Tokens to a loss (null: `common_loss`) by size, and the power b of N^b that they follow, with 95 % intervals.

    Intervals come from `draws` of the seeds' spread, which is itself drawn as it is known; None without a spread. A
    limit is infinite where too many draws never reach the loss. None where fewer than LEAST_SIZES sizes reach it.
    """
    curves = curves_of(points)
    loss = common_loss(curves) if loss is None else loss
    able = [curve for curve in curves if loss is not None and curve.reaches(loss)]
    if len(able) < LEAST_SIZES:
        return None
    sizes = np.log([curve.parameters for curve in able])
    found = np.array([curve.tokens_to(loss) for curve in able])
    drawn = _drawn(able, loss, spread, draws, seed) if spread else None
    return {
        "loss": loss,
        "sizes": [
            {"parameters": curve.parameters, **_interval(place, found, drawn)} for place, curve in enumerate(able)
        ],
        "left_out": [curve.parameters for curve in curves if not curve.reaches(loss)],
        "power": _power(sizes, found, drawn),
    }


def _drawn(curves: Sequence[Curve], loss: float, spread: Spread, draws: int, seed: int) -> np.ndarray:
    """(draws, sizes): logarithms of tokens with other seeds."""
    random = np.random.default_rng(seed)
    found = np.empty((draws, len(curves)))
    for draw in range(draws):
        scale = spread.deviation * math.sqrt(spread.freedom / random.chisquare(spread.freedom))
        for place, curve in enumerate(curves):
            noise = scale / np.sqrt(curve.runs) * random.standard_normal(len(curve.runs))
            found[draw, place] = curve.tokens_to(loss, curve.loss + noise)
    return found


def _interval(place: int, found: np.ndarray, drawn: np.ndarray | None) -> dict[str, float | None]:
    """Of one size: a draw whose curve never reaches the loss takes infinitely many tokens."""
    low, high = (None, None) if drawn is None else _limits(np.exp(drawn[:, place]))
    return {"tokens": math.exp(found[place]), "low": low, "high": high}


def _power(sizes: np.ndarray, found: np.ndarray, drawn: np.ndarray | None) -> dict[str, float | None]:
    """The slope of the line of least squares through the logarithms; without an interval where draws have no line."""
    weights = (sizes - sizes.mean()) / np.sum((sizes - sizes.mean()) ** 2)
    low, high = (None, None) if drawn is None else _limits(drawn @ weights)
    unknown = high is None or math.isinf(high)
    return {"value": float(found @ weights), "low": None if unknown else low, "high": None if unknown else high}


def _limits(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of draws, of which those that have no value lie beyond all others."""
    ordered = np.sort(np.where(np.isnan(draws), np.inf, draws))
    if np.isinf(ordered[math.ceil(0.975 * (len(ordered) - 1))]):
        return float(np.nanquantile(draws, 0.025)), math.inf
    return tuple(map(float, np.quantile(ordered, [0.025, 0.975])))
