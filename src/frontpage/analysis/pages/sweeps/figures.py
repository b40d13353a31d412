"""The plots of a study over its trials: history, curves, distribution, weights, several objectives."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import plotly.graph_objects as go

from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial, text_of
from frontpage.command.objective import COSTS
from frontpage.evaluation.metrics import HONEST

BLUE, ORANGE, RED, GREY = "#2a6f97", "#d97706", "#b42318", "#98a2b3"
INK, RULE = "#1d2939", "#e4e7ec"
AXIS = {"showline": True, "linecolor": GREY, "gridcolor": RULE, "zeroline": False, "ticks": "outside"}
AXIS |= {"tickcolor": GREY, "automargin": True, "exponentformat": "e", "title": {"font": {"size": 13}}}
LOOK = go.layout.Template(
    layout={
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 20, "t": 20, "b": 55},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": INK},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hoverlabel": {"bgcolor": "white"},
        "xaxis": AXIS,
        "yaxis": AXIS,
    }
)
STEP = "optimizer updates"
UNITS = {metric.name: metric.unit for metric in HONEST if metric.unit}


class Panel(NamedTuple):
    """A plot with its heading and a sentence on how it is read; without a figure, `lacking` says why."""

    key: str
    title: str
    caption: str
    figure: go.Figure | None = None
    lacking: str = ""


def styled(figure: go.Figure, height: int = 360) -> go.Figure:
    """The page's look: white, thin grid, dark text, no title (the page has headings)."""
    figure.update_layout(template=LOOK, title=None, height=height)
    return figure


def labelled(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    return f"{metric} ({UNITS[metric]})" if metric in UNITS else metric


def _axis(metric: str) -> dict:
    """Title and numbers of an objective's axis: 20k parameters, and 1e-5 nats."""
    return {"title": {"text": labelled(metric)}, "exponentformat": "SI" if metric in COSTS else "e"}


def about(trial: SweepTrial, line: str = "<br>") -> str:
    """A trial's number, parameters and objectives, for what is shown under the mouse."""
    shown = [f"{name} = {text_of(value)}" for name, value in trial.frozen.params.items()]
    return line.join([f"<b>trial {trial.number}</b> ({trial.state})", *shown])


def over_trials(sweep: Sweep) -> Iterator[Panel]:
    """The plots that have trials as their points."""
    if len(sweep.objectives) > 1:
        yield pareto(sweep)
    for place, name in enumerate(sweep.objectives):
        yield history(sweep, place, name)
    yield curves(sweep)
    for place, name in enumerate(sweep.objectives):
        if name != "parameters":
            yield against_weights(sweep, place, name)
    yield distribution(sweep)


def history(sweep: Sweep, place: int, name: str) -> Panel:
    """Each finished trial, and the best so far."""
    key, title = f"history-{place}", f"History: {name}"
    caption = "A point is a finished trial, the line the best so far. If it still falls at the end, go on."
    if not sweep.finished:
        return Panel(key, title, caption, lacking="no trial has finished")
    best, line = None, []
    for trial in sweep.finished:
        value = trial.values[place]
        better = min if sweep.minimised(place) else max
        best = value if best is None else better(best, value)
        line.append(best)
    numbers = [trial.number for trial in sweep.finished]
    points = {
        "y": [trial.values[place] for trial in sweep.finished],
        "text": [about(trial) for trial in sweep.finished],
    }
    figure = go.Figure()
    figure.add_scatter(x=numbers, y=line, mode="lines", line={"shape": "hv", "color": ORANGE}, name="best so far")
    figure.add_scatter(
        x=numbers, **points, mode="markers", marker={"color": BLUE, "size": 8, "opacity": 0.75}, name="finished trial"
    )
    figure.update_traces(hovertemplate="%{text}<br>%{y:.5g}<extra></extra>", selector={"mode": "markers"})
    figure.update_layout(xaxis_title="trial", yaxis=_axis(name))
    return Panel(key, title, caption, styled(figure))


def curves(sweep: Sweep) -> Panel:
    """Intermediate values of every trial, coloured by how it ended."""
    title = "Validations during the trials"
    caption = "Orange lines were pruned where they end, the dark one is the best trial."
    drawn = [trial for trial in sweep.trials if trial.curve]
    if not drawn:
        return Panel("curves", title, caption, lacking="no trial has reported a validation before its end")
    figure, winner = go.Figure(), sweep.winner
    colours = {"finished": BLUE, "pruned": ORANGE, "failed": RED}
    shown = set()
    for trial in sorted(drawn, key=lambda one: one == winner):  # the best one on top
        best = winner is not None and trial.number == winner.number
        kind = "best trial" if best else trial.state
        colour = INK if best else colours.get(trial.state, GREY)
        figure.add_scatter(
            x=[*trial.curve],
            y=[*trial.curve.values()],
            mode="lines+markers",
            line={"color": colour, "width": 3 if best else 1.5},
            marker={"size": 4},
            opacity=1 if best else 0.6,
            name=kind,
            legendgroup=kind,
            showlegend=kind not in shown,
            hovertemplate=f"{about(trial)}<br>%{{y:.5g}} at update %{{x}}<extra></extra>",
        )
        shown.add(kind)
    figure.update_layout(xaxis_title=STEP, yaxis_title=labelled(sweep.objectives[0]))
    return Panel("curves", title, caption, styled(figure, 400))


def against_weights(sweep: Sweep, place: int, name: str) -> Panel:
    """An objective against the number of weights."""
    key, title = f"weights-{place}", f"{name} and the size of the model"
    caption = "Weights of the model, embeddings included; down and to the left is better."
    points = [trial for trial in sweep.finished if trial.record.get("parameters")]
    sizes = [trial.record["parameters"] for trial in points]
    if len(set(sizes)) < 2:
        lacking = "all models are of one size" if points else "no finished trial has a run.json with its weights"
        return Panel(key, title, caption, lacking=lacking)
    figure = go.Figure()
    figure.add_scatter(
        x=sizes,
        y=[trial.values[place] for trial in points],
        text=[about(trial) for trial in points],
        mode="markers",
        marker={"color": BLUE, "size": 9, "opacity": 0.75},
        hovertemplate="%{text}<br>%{x:,} weights: %{y:.5g}<extra></extra>",
    )
    wide = max(sizes) > 3 * min(sizes)
    figure.update_layout(
        xaxis_title="weights",
        yaxis_title=labelled(name),
        xaxis={"type": "log" if wide else "linear", "exponentformat": "SI"},
    )
    return Panel(key, title, caption, styled(figure))


def distribution(sweep: Sweep) -> Panel:
    """How the first objective is spread over the finished trials."""
    name = sweep.objectives[0]
    title, caption = f"Distribution of {name}", "How many finished trials came out where; the line is the best trial."
    if len(sweep.finished) < 2:
        return Panel("distribution", title, caption, lacking="needs two finished trials")
    values = [trial.values[0] for trial in sweep.finished]
    figure = go.Figure()
    bins = max(8, 2 * math.isqrt(len(values)))
    figure.add_histogram(x=values, nbinsx=bins, marker={"color": BLUE, "line": {"color": "white", "width": 1}})
    figure.add_vline(x=sweep.winner.values[0], line={"color": ORANGE, "width": 2})
    figure.update_layout(xaxis_title=labelled(name), yaxis_title="trials", bargap=0.02)
    return Panel("distribution", title, caption, styled(figure))


def pareto(sweep: Sweep) -> Panel:
    """The first two objectives, and the trials that no other one beats."""
    title = "Pareto front"
    first, second = sweep.objectives[:2]
    caption = "Orange trials are beaten by no other in every objective; choosing between them is a matter of taste."
    if not sweep.finished:
        return Panel("pareto", title, caption, lacking="no trial has finished")
    figure, front = go.Figure(), {trial.number for trial in sweep.pareto}
    kinds = (
        ("beaten by another", BLUE, 7, lambda one: one not in front),
        ("Pareto front", ORANGE, 11, front.__contains__),
    )
    for kind, colour, size, holds in kinds:
        points = sorted((one for one in sweep.finished if holds(one.number)), key=lambda trial: trial.values)
        line = kind == "Pareto front" and len(sweep.objectives) == 2
        figure.add_scatter(
            x=[trial.values[1] for trial in points],
            y=[trial.values[0] for trial in points],
            text=[about(trial) for trial in points],
            mode="lines+markers" if line else "markers",
            line={"width": 1, "dash": "dot"},
            marker={"color": colour, "size": size},
            name=kind,
            hovertemplate="%{text}<br>%{y:.5g}, %{x:.5g}<extra></extra>",
        )
    figure.update_layout(xaxis=_axis(second), yaxis=_axis(first))
    return Panel("pareto", title, caption, styled(figure, 400))
