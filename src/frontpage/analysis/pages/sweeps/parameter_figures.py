"""The plots of a study over its parameters: importances, slices, parallel coordinates, pairs."""

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from plotly.subplots import make_subplots

from frontpage.analysis.pages.sweeps.figures import BLUE, INK, ORANGE, Panel, about, styled
from frontpage.analysis.pages.sweeps.sweep import Sweep, text_of

COLUMNS = 3  # of slices beside each other
PAIRED = 3  # parameters of the plot of pairs
DECADES = 30.0  # ratio from which on a logarithmic axis is labelled at powers of ten only
RANKS = [[0, ORANGE], [0.25, "#8fb8d0"], [0.5, BLUE], [1, INK]]
SURE = 20  # finished trials below which importances are only a hint


def over_parameters(sweep: Sweep, found: list[dict[str, float]]) -> Iterator[Panel]:
    """The plots that have parameters as their axes; `found` are their importances."""
    yield importance_bars(sweep, found)
    for place, name in enumerate(sweep.objectives):
        yield slices(sweep, place, name)
    yield parallel(sweep)
    yield pairs(sweep, found)


def importances(sweep: Sweep) -> list[dict[str, float]]:
    """For each objective the share of each parameter by PED-ANOVA, largest first; empty where nothing can be said.

    Source: Watanabe et al. 2023, arXiv 2304.10255, as Optuna has it.
    """
    varied = sweep.varied()
    if len(sweep.finished) < 3 or not varied:
        return [{} for _ in sweep.objectives]
    study, found = plain_study(sweep), []
    for place in range(len(sweep.objectives)):
        sign = 1 if sweep.minimised(place) else -1
        differ = len({trial.values[place] for trial in sweep.finished}) > 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*to achieve low `target` values.*")  # as is wanted here
            found.append(
                optuna.importance.get_param_importances(
                    study, params=varied, target=lambda trial, at=place, sign=sign: sign * trial.values[at]
                )
                if differ
                else {}
            )
    return found


def plain_study(sweep: Sweep) -> optuna.Study:
    """The finished trials alone in memory, for Optuna's own analyses, which would stumble over the others."""
    study = optuna.create_study(directions=sweep.study.directions)
    for trial in sweep.finished:
        frozen = trial.frozen
        study.add_trial(create_trial(values=trial.values, params=frozen.params, distributions=frozen.distributions))
    return study


def importance_bars(sweep: Sweep, found: list[dict[str, float]]) -> Panel:
    """A bar for each parameter, a colour for each objective."""
    title = "Importance of the parameters"
    caption = "How much being among the best trials depends on each parameter (PED-ANOVA, shares of 1)."
    if len(sweep.finished) < SURE:
        caption += f" From {len(sweep.finished)} finished trials, so only a hint."
    if not any(found):
        lacking = "needs three finished trials that differ in a parameter and in their results"
        return Panel("importances", title, caption, lacking=lacking)
    figure = go.Figure()
    names = list(dict.fromkeys(name for shares in found for name in shares))[::-1]  # plotly begins at the bottom
    for objective, shares, colour in zip(sweep.objectives, found, (BLUE, ORANGE, INK, *["#667085"] * 9), strict=False):
        lengths = [shares.get(name, 0.0) for name in names]
        figure.add_bar(
            y=names,
            x=lengths,
            orientation="h",
            name=objective,
            marker={"color": colour},
            text=[f"{length:.2f}" for length in lengths],
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    figure.update_layout(xaxis_title="share of the importance", showlegend=len(found) > 1, bargap=0.35)
    return Panel("importances", title, caption, styled(figure, 130 + 34 * len(names) * len(found)))


def slices(sweep: Sweep, place: int, name: str) -> Panel:
    """An objective against each parameter."""
    key, title = f"slices-{place}", f"{name} against each parameter"
    caption = "A point is a finished trial, darker the later; the orange one is the best."
    varied, winner = sweep.varied(), sweep.winner
    if not varied:
        lacking = "no parameter has had two values among finished trials"
        return Panel(key, title, caption, lacking=lacking)
    rows = math.ceil(len(varied) / COLUMNS)
    figure = make_subplots(
        rows, min(COLUMNS, len(varied)), shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.25 / rows
    )
    trials = {trial.number: trial for trial in sweep.finished}
    last = max(trials)
    for index, parameter in enumerate(varied):
        at = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        column = sweep.column(parameter)
        shown, settings = axis_of(sweep, parameter)
        best = [number == winner.number for number in column]
        figure.add_scatter(
            **at,
            x=[shown(value) for value in column.values()],
            y=[trials[number].values[place] for number in column],
            text=[about(trials[number]) for number in column],
            mode="markers",
            marker={
                "color": [ORANGE if one else BLUE for one in best],
                "size": [12 if one else 8 for one in best],
                "opacity": [
                    1 if one else 0.35 + 0.5 * number / max(last, 1) for one, number in zip(best, column, strict=True)
                ],
            },
            showlegend=False,
            hovertemplate="%{text}<br>%{y:.5g}<extra></extra>",
        )
        figure.update_xaxes(title_text=parameter, **settings, **at)
        if at["col"] == 1:
            figure.update_yaxes(title_text=name, **at)
    return Panel(key, title, caption, styled(figure, 90 + 270 * rows))


def axis_of(sweep: Sweep, parameter: str) -> tuple[Any, dict[str, Any]]:
    """(how a value is shown, settings of the axis) of a parameter."""
    drawn = sweep.distribution(parameter)
    if isinstance(drawn, CategoricalDistribution):
        order = [text_of(choice) for choice in drawn.choices]
        return text_of, {"type": "category", "categoryorder": "array", "categoryarray": order}
    values = sweep.column(parameter).values()
    wide = drawn.log and max(values) > DECADES * min(values)
    return (lambda value: value), ({"type": "log"} if drawn.log else {}) | ({"dtick": 1} if wide else {})


def parallel(sweep: Sweep) -> Panel:
    """A line for each finished trial through all its parameters."""
    title = "Parallel coordinates"
    caption = "A line is a finished trial, darker the better."
    common = [name for name in sweep.varied() if len(sweep.column(name)) == len(sweep.finished)]
    if len(sweep.finished) < 2 or not common:
        lacking = "needs two finished trials that differ in a parameter that all of them have"
        return Panel("parallel", title, caption, lacking=lacking)
    partial = [name for name in sweep.varied() if name not in common]
    if partial:
        caption += f" Not drawn, since only some trials have them: {', '.join(partial)}."
    target = None if len(sweep.objectives) == 1 else lambda trial: trial.values[0]
    figure = optuna.visualization.plot_parallel_coordinate(
        plain_study(sweep), params=common, target=target, target_name=sweep.objectives[0]
    )
    figure = styled(figure, 420)
    names = [sweep.objectives[0], *sorted(common)]  # Optuna's order; it cuts long ones off
    figure.update_xaxes(ticktext=[name.replace(".", ".<br>").replace("/", "/<br>") for name in names])
    figure.update_layout(margin={"l": 60, "r": 60, "t": 30, "b": 50})
    return Panel("parallel", title, caption, figure)


def pairs(sweep: Sweep, found: list[dict[str, float]]) -> Panel:
    """The two or three most important parameters against each other, coloured by the objective's rank."""
    title = "Pairs of parameters"
    caption = "The most important parameters against each other; colours rank the trials by the first objective."
    chosen = [*found[0]][:PAIRED]
    drawn = [
        (pair, both)
        for pair in itertools.combinations(chosen, 2)
        if len(both := [one for one in sweep.finished if all(name in one.frozen.params for name in pair)]) > 2
    ]
    if not drawn:
        return Panel("pairs", title, caption, lacking="needs two parameters and three finished trials that have both")
    figure, ranks = make_subplots(1, len(drawn), horizontal_spacing=0.14), ranks_of(sweep)
    for column, (pair, trials) in enumerate(drawn, start=1):
        pair = sorted(pair, key=lambda name: not isinstance(sweep.distribution(name), CategoricalDistribution))
        axes = [axis_of(sweep, name) for name in pair]  # choices below, where their names have room
        x, y = ([shown(one.frozen.params[name]) for one in trials] for name, (shown, _) in zip(pair, axes, strict=True))
        figure.add_scatter(
            row=1,
            col=column,
            x=x,
            y=y,
            text=[f"{about(one)}<br>{sweep.objectives[0]} {one.values[0]:.5g}" for one in trials],
            mode="markers",
            marker={"color": [ranks[one.number] for one in trials], "coloraxis": "coloraxis", "size": 9},
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
        )
        figure.update_xaxes(title_text=pair[0], **axes[0][1], row=1, col=column)
        figure.update_yaxes(title_text=pair[1], **axes[1][1], row=1, col=column)
    bar = {"tickvals": [0, 0.5, 1], "ticktext": ["best", "median", "worst"], "thickness": 12, "outlinewidth": 0}
    figure.update_layout(coloraxis={"colorscale": RANKS, "cmin": 0, "cmax": 1, "colorbar": bar})
    return Panel("pairs", title, caption, styled(figure, 380))


def ranks_of(sweep: Sweep) -> dict[int, float]:
    """From 0, the best trial by the first objective, to 1, by number; equals share the middle of their places."""
    values = [trial.values[0] * (1 if sweep.minimised(0) else -1) for trial in sweep.finished]
    last = max(len(values) - 1, 1)
    below = ((sum(one < value for one in values), values.count(value)) for value in values)
    return {
        trial.number: (less + (same - 1) / 2) / last for trial, (less, same) in zip(sweep.finished, below, strict=True)
    }
