"""Two claims of Kaplan et al. 2020 that a law takes for granted: of a model's shape, and of larger models' tokens."""

from collections.abc import Sequence
from typing import Any

from frontpage.analysis.scaling.efficiency import LEAST_SIZES, curves_of, sample_efficiency
from frontpage.analysis.scaling.fit import Fit
from frontpage.analysis.scaling.points import Point
from frontpage.analysis.scaling.shapes import compare_shapes, shape_groups
from frontpage.analysis.scaling.spread import spread_of
from frontpage.analysis.scaling.study import variables_of
from frontpage.command.errors import BadValue
from frontpage.command.notices import notice

WITHOUT = "no two runs differ in their seed alone, so shapes and tokens have no intervals (scaling_runs.py --seeds 1,2)"


def claims_of(
    points: Sequence[Point], shapes: Sequence[Point], fit: Fit, draws: int, seed: int, reach: float | None
) -> dict[str, Any]:
    """`shapes`, `sample_efficiency` and the `spread` that their intervals are of, for the JSON.

    `shapes` are runs that the fit does not see. Raises UserError where they have no size in common, and for a loss to
    `reach` that too few sizes do.
    """
    spread = spread_of([*points, *shapes])
    groups = shape_groups(shapes)
    if shapes and not groups:
        where = " ".join(point.run for point in shapes)
        raise BadValue("--shapes", where, "runs of one size and as many tokens, in several widths and depths")
    compared = [compare_shapes(group, lambda point: expected(fit, point), spread) for group in groups]
    found = sample_efficiency(points, spread, draws, seed, reach)
    if reach is not None and found is None:
        raise BadValue("--reach", reach, f"a loss between those of the runs of {LEAST_SIZES} sizes or more")
    if found is None and len(curves_of(points)) >= LEAST_SIZES:
        notice(f"no loss lies between the runs of {LEAST_SIZES} sizes or more, so tokens to one loss are not compared")
    if spread is None and (compared or found):
        notice(WITHOUT)
    return {"spread": spread and spread._asdict(), "shapes": compared, "sample_efficiency": found}


def expected(fit: Fit, point: Point) -> float:
    """The loss of a run by the law."""
    return fit.loss(*variables_of(fit.form, [point])[0])
