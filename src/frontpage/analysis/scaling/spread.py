"""The spread of the loss between runs that differ in their seed alone, by which differences of runs are judged."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from frontpage.analysis.scaling.fit import distinct
from frontpage.analysis.scaling.points import Point

Cell = list[Point]  # runs of one architecture, shape, size, rate and number of tokens: seeds


class Spread(NamedTuple):
    """The deviation of a loss's logarithm from seed to seed, and the degrees of freedom that it was found with."""

    deviation: float
    freedom: int


def cells_of(points: Sequence[Point]) -> list[Cell]:
    """Runs that differ in their seed alone, together; sizes and tokens within 2 % count as one (`distinct`).

    A run that repeats another one's seed is that run again, and left out.
    """
    sizes, tokens = (distinct(np.array([point.variables[column] for point in points])) for column in (0, 1))
    cells: dict[tuple, Cell] = {}
    for point in points:
        key = (point.recipe, point.shape, point.rate, level(point.parameters, sizes), level(point.tokens, tokens))
        cell = cells.setdefault(key, [])
        if point.seed not in {one.seed for one in cell}:
            cell.append(point)
    return list(cells.values())


def spread_of(points: Sequence[Point]) -> Spread | None:
    """The spread that all cells have in common, pooled; None where no two runs differ in their seed alone."""
    cells = cells_of(points) if points else []
    freedom = sum(len(cell) - 1 for cell in cells)
    if freedom == 0:
        return None
    squares = sum(sum((math.log(point.loss) - mean_log(cell)) ** 2 for point in cell) for cell in cells)
    return Spread(math.sqrt(squares / freedom), freedom)


def mean_log(cell: Cell) -> float:
    """The mean of the losses' logarithms."""
    return sum(math.log(point.loss) for point in cell) / len(cell)


def level(value: float, levels: Sequence[float]) -> float:
    """The one of the levels that a value counts as: the largest that is not above it."""
    return max(one for one in levels if one <= value)
