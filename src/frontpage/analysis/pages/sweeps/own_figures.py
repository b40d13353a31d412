"""The plots that Optuna does not have: validations by how a trial ended, and an objective against the weights.

Its `plot_intermediate_values` leaves out the trials that failed, and does not tell those that were pruned.
"""

import plotly.graph_objects as go

from frontpage.analysis.pages.sweeps.look import BLUE, GREEN, GREY, ORANGE, RED, about, labelled, styled
from frontpage.analysis.pages.sweeps.sweep import Sweep

COLOURS = {"finished": BLUE, "pruned": ORANGE, "failed": RED}


def curves(sweep: Sweep) -> list[go.Figure] | str:
    """Intermediate values of every trial, coloured by how it ended."""
    drawn = [trial for trial in sweep.trials if trial.curve]
    if not drawn:
        return "no trial has reported a validation before its end"
    figure, shown = go.Figure(), set()
    for trial in sorted(drawn, key=lambda one: one == sweep.winner):  # the best one on top
        best = trial == sweep.winner
        kind = "best trial" if best else trial.state
        figure.add_scatter(
            x=[*trial.curve],
            y=[*trial.curve.values()],
            mode="lines+markers",
            line={"color": GREEN if best else COLOURS.get(trial.state, GREY), "width": 3 if best else 1.5},
            marker={"size": 4},
            opacity=1 if best else 0.6,
            name=kind,
            legendgroup=kind,
            showlegend=kind not in shown,
            hovertemplate=f"{about(trial)}<br>%{{y:.5g}} at update %{{x}}<extra></extra>",
        )
        shown.add(kind)
    figure.update_layout(xaxis_title="optimizer updates", yaxis_title=labelled(sweep.objectives[0]))
    return [styled(figure, 400)]


def against_weights(sweep: Sweep, place: int) -> list[go.Figure] | str:
    """An objective against the number of weights."""
    points = [trial for trial in sweep.finished if trial.record.get("parameters")]
    sizes = [trial.record["parameters"] for trial in points]
    if len(set(sizes)) < 2:
        return "all models are of one size" if points else "no finished trial has a run.json with its weights"
    figure = go.Figure().add_scatter(
        x=sizes,
        y=[trial.values[place] for trial in points],
        text=[about(trial) for trial in points],
        mode="markers",
        marker={"color": BLUE, "size": 9, "opacity": 0.85},
        hovertemplate="%{text}<br>%{x:,} weights: %{y:.5g}<extra></extra>",
    )
    scale = "log" if max(sizes) > 3 * min(sizes) else "linear"
    figure.update_layout(xaxis={"title": "weights", "type": scale, "exponentformat": "SI"})
    figure.update_layout(yaxis_title=labelled(sweep.objectives[place]))
    return [styled(figure)]
