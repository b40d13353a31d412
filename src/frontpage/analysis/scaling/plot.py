"""The picture of a scaling law: measured points, fitted lines, held-out runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from frontpage.analysis.scaling.claim_panels import efficiency_panel, shape_panel
from frontpage.analysis.scaling.fit import Fit, distinct
from frontpage.analysis.scaling.forms import TwoTerms
from frontpage.analysis.scaling.points import Point, sizes_of
from frontpage.command.errors import UserError
from frontpage.command.extras import installing

NAMES = ("parameters N", "tokens seen D")


def drawn(fit: Fit, points: Sequence[Point], held: Sequence[Point], metric: str, claims: dict[str, Any]) -> Any:
    """A figure: the loss against N, a line for each D, and against D, a line for each N; stars are held-out runs.

    Behind them a panel for each of the `claims` that were tested. Raises UserError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogFormatter
    except ImportError as error:
        raise UserError(f"matplotlib is missing: {installing('analysis')}") from error
    columns = (0, 1) if isinstance(fit.form, TwoTerms) else ("ND".index(fit.form.variable),)
    more = [(shape_panel, claims["shapes"]), (efficiency_panel, claims["sample_efficiency"])]
    more = [(panel, found) for panel, found in more if found]
    count = len(columns) + len(more)
    figure = Figure(figsize=(5.5 * max(count, 2), 4.5), layout="constrained")
    figure.suptitle(f"{fit.form.name}: {fit.form.equation}", fontsize=10)
    places = figure.subplots(1, count, squeeze=False)[0]
    for axes, column in zip(places, columns, strict=False):
        axes.sharey(places[0])
        _panel(axes, column, fit, points, held)
        axes.set(xscale="log", yscale="log", xlabel=NAMES[column])
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False))
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 1)))
        axes.set_ylabel(metric)
    for axes, (panel, found) in zip(places[len(columns) :], more, strict=True):
        panel(axes, found)
    for axes in places:
        axes.grid(which="both", alpha=0.25)
        axes.legend(fontsize=7)
    return figure


def _panel(axes: Any, column: int, fit: Fit, points: Sequence[Point], held: Sequence[Point]) -> None:
    """Loss against N (column 0) or D (1): a colour for each value of the other one."""
    sizes, everything = sizes_of(points), sizes_of([*points, *held])
    loss = np.array([point.loss for point in points])
    line = np.geomspace(everything[:, column].min(), everything[:, column].max(), 60)
    for place, value in enumerate(distinct(everything[:, 1 - column])):
        colour = f"C{place}"
        here = np.isclose(sizes[:, 1 - column], value, rtol=0.03)
        axes.plot(sizes[here, column], loss[here], "o", color=colour, label=f"{'ND'[1 - column]} = {value:,.0f}")
        pair = (lambda x, v=value: (x, v)) if column == 0 else (lambda x, v=value: (v, x))
        at = pair if isinstance(fit.form, TwoTerms) else (lambda x: (x,))
        axes.plot(line, [fit.loss(*at(x)) for x in line], "-", color=colour, linewidth=1)
        for point in held:
            if np.isclose(point.variables[1 - column], value, rtol=0.03):
                axes.plot(point.variables[column], point.loss, "*", color=colour, markersize=13, label="held out")
