"""What all plots of the page look like, and the form in which plotly's script gets them."""

import json
import re
from html import escape
from typing import Any

import plotly.graph_objects as go
import plotly.io

from frontpage.analysis.pages.sweeps.sweep import SweepTrial, text_of
from frontpage.evaluation.metrics import HONEST

BLUE, ORANGE, RED, GREY, GREEN = "#3b87b5", "#d97706", "#d9483b", "#8b95a5", "#2f9e68"  # seen on white and on black
RANKS = [[0, ORANGE], [1, BLUE]]  # best, worst
FADING = [[0, "rgba(59, 135, 181, 0.3)"], [1, BLUE]]  # first, last
UNITS = {metric.name: metric.unit for metric in HONEST if metric.unit}
MARKS = re.compile("&lt;(/?(?:br|extra))&gt;")  # plotly's, of which Optuna's figures make use


def styled(figure: go.Figure, height: int = 360) -> go.Figure:
    """Without a look of its own: the page has headings, and its script gives the colours of the light or the dark."""
    return figure.update_layout(template=go.layout.Template(), title=None, plot_bgcolor=None, height=height)


def labelled(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    return f"{metric} ({UNITS[metric]})" if metric in UNITS else metric


def about(trial: SweepTrial) -> str:
    """A trial's number, parameters and objectives, for what is shown under the mouse."""
    shown = [f"{name} = {text_of(value)}" for name, value in trial.frozen.params.items()]
    return "<br>".join([f"trial {trial.number} ({trial.state})", *shown])


def as_json(figure: go.Figure) -> dict[str, Any]:
    """What plotly's script draws; names and values from a study are shown as they are, not read as its markup."""
    return _escaped(json.loads(plotly.io.to_json(figure)))


def _escaped(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _escaped(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_escaped(value) for value in content]
    return MARKS.sub(r"<\1>", escape(content, quote=False)) if isinstance(content, str) else content
