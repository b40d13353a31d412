"""Weak dependence on shape (Kaplan et al. 2020, section 3.1): how the loss of one size varies with depth and width."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from frontpage.analysis.scaling.points import Point
from frontpage.analysis.scaling.spread import Cell, Spread, cells_of, mean_log

EQUAL = 0.05  # parameters within this share count as one size: biases and norms go by the width
CONFIDENCE = 0.95


def shape_groups(points: Sequence[Point]) -> list[list[Cell]]:
    """Seeds by shape, for each size and number of tokens that several shapes have in common."""
    groups: list[list[Cell]] = []
    known = [cell for cell in cells_of(points) if cell[0].shape is not None]
    for cell in sorted(known, key=lambda one: (one[0].parameters, one[0].tokens)):
        group = next((one for one in groups if _beside(one[0][0], cell[0])), None)
        groups.append([cell]) if group is None else group.append(cell)
    several = [group for group in groups if len({cell[0].shape for cell in group}) > 1]
    return [sorted(group, key=lambda cell: aspect(cell[0])) for group in several]


def compare_shapes(group: Sequence[Cell], expected: Callable[[Point], float], spread: Spread | None) -> dict[str, Any]:
    """The loss of each shape of a group over that of their mean, and the largest difference of two, with intervals.

    What little the sizes differ is taken out by `expected`, the loss by a law that knows no shape. Intervals are those
    of the seeds' spread: of each shape by itself (Student's t), and of the largest difference for all pairs at once
    (Tukey-Kramer), since it was chosen after the fact. None where there is no spread.
    """
    rest = [mean_log(cell) - sum(math.log(expected(point)) for point in cell) / len(cell) for cell in group]
    mean, count = sum(rest) / len(group), len(group)
    parts = [1 / len(cell) for cell in group]  # of a seed's variance, in each mean
    shapes = []
    for cell, value, part in zip(group, rest, parts, strict=True):
        variance = (part * (1 - 2 / count) + sum(parts) / count**2) if spread else 0.0
        half = _quantile(spread) * spread.deviation * math.sqrt(variance) if spread else None
        width, layers = cell[0].shape
        shown = {"width": width, "layers": layers, "aspect": aspect(cell[0]), "runs": len(cell)}
        shown |= {"loss": math.exp(mean_log(cell)), **_ratio(value - mean, half)}
        shapes.append(shown)
    worst, best = (pick(range(count), key=rest.__getitem__) for pick in (max, min))
    half = None
    if spread:
        error = spread.deviation * math.sqrt((parts[worst] + parts[best]) / 2)
        half = _range_quantile(count, spread) * error
    largest = {"worst": _name(group[worst]), "best": _name(group[best]), **_ratio(rest[worst] - rest[best], half)}
    return {
        "parameters": [min(cell[0].parameters for cell in group), max(cell[0].parameters for cell in group)],
        "tokens": group[0][0].tokens,
        "shapes": shapes,
        "largest": largest,
    }


def aspect(point: Point) -> float:
    """The width over the layers."""
    width, layers = point.shape
    return width / layers


def _name(cell: Cell) -> str:
    """Such as 64x2."""
    return "{}x{}".format(*cell[0].shape)


def _beside(first: Point, other: Point) -> bool:
    """Whether two runs have one size and as many tokens; `first` is not the larger one."""
    near = abs(other.tokens / first.tokens - 1) <= 0.02
    return near and other.parameters <= first.parameters * (1 + EQUAL)


def _ratio(logarithm: float, half: float | None) -> dict[str, float | None]:
    """A difference of logarithms as percent, with its interval."""
    low, high = (None, None) if half is None else (logarithm - half, logarithm + half)
    values = {"percent": logarithm, "low": low, "high": high}
    return {name: None if value is None else 100 * math.expm1(value) for name, value in values.items()}


def _quantile(spread: Spread) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, spread.freedom))


def _range_quantile(count: int, spread: Spread) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, count, spread.freedom))
