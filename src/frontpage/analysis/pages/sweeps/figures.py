"""The plots of a study: Optuna's own where it has them, in the colours of the page.

They are plotly's and not matplotlib's, which Optuna has as well: one wants to ask a point which trial it is, and a
picture cannot answer. The price is plotly's script in the page, 4.8 MB, once.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from optuna.visualization import (
    plot_contour,
    plot_edf,
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
)
from plotly.colors import sample_colorscale

from frontpage.analysis.pages.sweeps.look import BLUE, FADING, GREY, ORANGE, RANKS, about, labelled, styled
from frontpage.analysis.pages.sweeps.own_figures import against_weights, curves
from frontpage.analysis.pages.sweeps.sweep import Sweep, text_of

PAIRED = 3  # parameters of the plots of pairs
SURFACE = 150  # trials that these are drawn from at most: a surface has as many cells as the square of it
SURE = 20  # finished trials below which importances are only a hint
SMALL = 300  # pixels
Panels = Mapping[str, list[go.Figure] | str]  # by their keys; a text says why nothing is drawn
LONG = 18  # letters of a choice beside an axis; pointing at a trial shows all of them


class Spelled(str):
    """A choice as the command line spells it, also where Optuna asks for its `repr`."""

    __repr__ = str.__str__


def study_of(sweep: Sweep, place: int | None = None, most: int | None = None) -> optuna.Study:
    """The finished trials in memory, by their numbers, with the objective at `place` alone (None: with all).

    With `most`, the best so many by it. The others, which Optuna's figures would stumble over, are failed ones there.
    """
    places = range(len(sweep.objectives)) if place is None else [place]
    study = optuna.create_study(directions=[sweep.study.directions[at] for at in places])
    choices = {name: _choices(sweep, name) for name in sweep.parameters()}
    best = sorted(sweep.ranks(place or 0).items(), key=lambda found: found[1])[:most]
    kept = {number for number, _ in best}
    finished = {trial.number: trial for trial in sweep.finished}
    for number in range(max(finished, default=-1) + 1):
        if number not in kept:
            study.add_trial(create_trial(state=TrialState.FAIL))
            continue
        trial = finished[number]
        drawn, params = dict(trial.frozen.distributions), dict(trial.frozen.params)
        for name in params:
            if choices[name]:
                params[name] = choices[name][repr(params[name])]
                drawn[name] = CategoricalDistribution([*choices[name].values()])
        values = [trial.values[at] for at in places]
        study.add_trial(create_trial(values=values, params=params, distributions=drawn))
    return study


def _choices(sweep: Sweep, name: str) -> dict[str, Spelled]:
    """What stands at an axis for each choice of a parameter, by its `repr`; nothing for a parameter of numbers."""
    drawn = sweep.distribution(name)
    if not isinstance(drawn, CategoricalDistribution):
        return {}
    found = {repr(one): text_of(one) for one in (*drawn.choices, *sweep.column(name).values())}
    cut = {key: Spelled(one if len(one) <= LONG else f"{one[: LONG - 1]}…") for key, one in found.items()}
    return cut if len({*cut.values()}) == len(cut) else {key: Spelled(key) for key in found}


def importances(sweep: Sweep) -> list[dict[str, float]]:
    """For each objective the share of each parameter by PED-ANOVA, largest first; empty where nothing can be said.

    Source: Watanabe et al. 2023, arXiv 2304.10255, as Optuna has it.
    """
    varied = sweep.varied()
    return [
        optuna.importance.get_param_importances(study_of(sweep, place), params=varied)
        if varied and len(sweep.finished) > 2 and len({trial.values[place] for trial in sweep.finished}) > 1
        else {}
        for place in range(len(sweep.objectives))
    ]


def panels_of(sweep: Sweep, shares: list[dict[str, float]]) -> Panels:
    """The plots by their keys, in which a number is an objective's place; `shares` are the importances."""
    places = range(len(sweep.objectives))
    found = {"pareto": pareto(sweep)} if len(places) > 1 else {}
    found |= {f"history-{place}": history(sweep, place) for place in places} | {"curves": curves(sweep)}
    sized = [place for place in places if sweep.objectives[place] != "parameters"]
    found |= {f"weights-{place}": against_weights(sweep, place) for place in sized}
    found |= {"distribution": distribution(sweep), "importances": importance_bars(sweep, shares)}
    found |= {f"slices-{place}": slices(sweep, place) for place in places}
    return found | {"parallel": parallel(sweep), "pairs": pairs(sweep, shares[0])}


def pareto(sweep: Sweep) -> list[go.Figure] | str:
    """The first two objectives, and the trials that no other one beats."""
    if not sweep.finished:
        return "no trial has finished"
    names = [labelled(name) for name in sweep.objectives[1::-1]]
    figure = plot_pareto_front(study_of(sweep), targets=lambda trial: trial.values[1::-1], target_names=names)
    for trace, colour, size in zip(figure.data, (BLUE, ORANGE), (7, 11), strict=True):
        trace.marker = {"color": colour, "size": size}
    return [styled(figure, 400)]


def history(sweep: Sweep, place: int) -> list[go.Figure] | str:
    """Each finished trial, and the best so far."""
    if not sweep.finished:
        return "no trial has finished"
    figure = plot_optimization_history(study_of(sweep, place), target_name=labelled(sweep.objectives[place]))
    points, best, _ = figure.data
    points.update(marker={"color": BLUE, "size": 8}, opacity=0.85, name="finished trial", **_told(sweep, points.x))
    reached = [at for at in range(len(best.x)) if best.x[at] >= points.x[0]]  # before, there is no best
    best.update(x=[best.x[at] for at in reached], y=[best.y[at] for at in reached], name="best so far")
    best.line = {"shape": "hv", "color": ORANGE}
    return [styled(figure)]


def distribution(sweep: Sweep) -> list[go.Figure] | str:
    """How the first objective is spread over the finished trials."""
    if len(sweep.finished) < 2:
        return "needs two finished trials"
    figure = plot_edf(study_of(sweep, 0), target_name=labelled(sweep.objectives[0]))
    figure.update_traces(name="share", line={"color": BLUE}, selector=0)
    return [styled(figure.add_vline(x=sweep.winner.values[0], line={"color": ORANGE, "width": 2}))]


def importance_bars(sweep: Sweep, shares: list[dict[str, float]]) -> list[go.Figure] | str:
    """A bar for each parameter, a colour for each objective."""
    if not any(shares):
        return "needs three finished trials that differ in a parameter and in their results"
    figure = go.Figure()
    for place, name in enumerate(sweep.objectives):
        if shares[place]:
            drawn = plot_param_importances(study_of(sweep, place), params=sweep.varied(), target_name=name)
            figure.add_traces(drawn.data).update_layout(drawn.layout)
    figure.update_layout(showlegend=len(figure.data) > 1, bargap=0.35, yaxis_title=None)
    figure.update_xaxes(title="share", range=[0, 1.2 * max(max(trace.x) for trace in figure.data)])
    return [styled(figure, 130 + 34 * len(sweep.varied()) * len(figure.data))]


def slices(sweep: Sweep, place: int) -> list[go.Figure] | str:
    """An objective against each parameter."""
    if not sweep.varied():
        return "no parameter has had two values among finished trials"
    study, figures = study_of(sweep, place), []
    for parameter in sweep.varied():
        figure = plot_slice(study, params=[parameter], target_name=sweep.objectives[place])
        points = figure.data[0]
        numbers = list(points.marker.color)
        points.update(marker={"colorscale": FADING, "showscale": False, "size": 8}, **_told(sweep, numbers))
        if sweep.winner.number in numbers:
            at = numbers.index(sweep.winner.number)
            best = {"x": [points.x[at]], "y": [points.y[at]], "marker": {"color": ORANGE, "size": 12}}
            figure.add_scatter(**best, mode="markers", showlegend=False, hoverinfo="skip")
        figures.append(styled(figure, SMALL))
    return figures


def parallel(sweep: Sweep) -> list[go.Figure] | str:
    """A line for each finished trial through all its parameters."""
    varied = sorted(sweep.varied())
    if len(sweep.finished) < 2 or not varied:
        return "needs two finished trials that differ in a parameter"
    figure, ranks = plot_parallel_coordinate(study_of(sweep, 0), params=varied), sweep.ranks(0)
    for trace, trial in zip(figure.data, sweep.finished, strict=False):
        trace.line.color = sample_colorscale(RANKS, [ranks[trial.number]])[0]
        trace.hovertemplate = f"{about(trial)}<br>here %{{customdata[1]}}<extra></extra>"
    figure.data = figure.data[:-1]  # the last one has no points, but a scale of other colours
    names = [sweep.objectives[0], *varied]  # Optuna's order; it cuts long ones off
    figure.update_annotations(font={"size": 11}, overwrite=True)
    figure.update_xaxes(ticktext=[name.replace(".", ".<br>").replace("/", "/<br>") for name in names])
    return [styled(figure, 420)]


def pairs(sweep: Sweep, shares: dict[str, float]) -> list[go.Figure] | str:
    """The two or three most important parameters against each other, coloured by the objective's rank."""
    study, ranks, figures = study_of(sweep, 0, SURFACE), sweep.ranks(0), []
    kept = {trial.number for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])}
    for pair in itertools.combinations([*shares][:PAIRED], 2):
        both = [trial.number for trial in sweep.finished if trial.number in kept and {*pair} <= {*trial.frozen.params}]
        if len(both) > 2:
            figure = plot_contour(study, params=list(pair), target_name=sweep.objectives[0])
            surface, points, _ = figure.data
            surface.update(colorscale=RANKS, reversescale=not sweep.minimised(0), opacity=0.3, showscale=False)
            surface.line.color = GREY
            colours = {"color": [ranks[number] for number in both], "colorscale": RANKS, "cmin": 0, "cmax": 1}
            points.update(marker={**colours, "size": 9, "line": {"width": 0}}, **_told(sweep, both))
            figures.append(styled(figure, SMALL + 40))
    return figures or "needs two parameters and three finished trials that have both"


def _told(sweep: Sweep, numbers: Iterable[int]) -> dict[str, Any]:
    """What pointing at the trials of these numbers says."""
    trials, name = {trial.number: trial for trial in sweep.finished}, sweep.objectives[0]
    said = [f"{about(trials[number])}<br>{name} {trials[number].values[0]:.5g}" for number in numbers]
    return {"text": said, "hovertemplate": "%{text}<extra></extra>"}
