"""The table of all trials: its columns, and what stands in them."""

from collections.abc import Callable
from typing import Any

from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial, text_of
from frontpage.analysis.pages.web_page.parts import Column, numeric

LEGACY = ("val/mainrun_loss", "val/mainrun_coverage")


EARLY = (
    Column("trial", lambda trial: trial.number, lambda trial: str(trial.number), "number"),
    Column("state", lambda trial: trial.state, lambda trial: trial.state),
    Column(
        "last update reported",
        lambda trial: max(trial.curve, default=None),
        lambda trial: str(max(trial.curve, default="")),
        "number",
    ),
    Column("reason", lambda trial: trial.reason, lambda trial: trial.reason, "reason"),
)


def columns_of(sweep: Sweep) -> list[Column]:
    """The columns that at least one trial fills.

    The headline, its standard error, the original exercise's number and the share of the tokens that this one
    scored stand side by side (docs/metrics.md).
    """
    headline = sweep.headline
    objectives = [
        (name, lambda trial, at=place: trial.values and trial.values[at], ",.0f" if name == "parameters" else ".4f")
        for place, name in enumerate(sweep.objectives)
        if name != headline.name
    ]
    columns = [
        ("trial", lambda trial: trial.number),
        ("state", lambda trial: trial.state),
        (headline.name, lambda trial: _headline(sweep, trial), ".4f"),
        ("± standard error", lambda trial: headline.error and trial.metric(headline.error), ".4f"),
        *((name, lambda trial, name=name: trial.metric(name), ".4f") for name in LEGACY),
        *(one for one in objectives if one[0] not in LEGACY),
        *((name, lambda trial, name=name: trial.frozen.params.get(name)) for name in sweep.parameters()),
        ("updates", lambda trial: trial.record.get("steps") or max(trial.curve, default=None), ","),
        ("tokens seen", lambda trial: trial.record.get("tokens_seen"), ","),
        ("seconds", lambda trial: trial.record.get("seconds"), ",.0f"),
        *([] if "parameters" in sweep.objectives else [("weights", lambda trial: trial.record.get("parameters"), ",")]),
        ("memory, GiB", _memory, ".2f"),
    ]
    return [_column(sweep, *one) for one in columns if any(one[1](trial) is not None for trial in sweep.trials)]


def _column(sweep: Sweep, name: str, value: Callable[[SweepTrial], Any], form: str = "") -> Column:
    numbers = all(numeric(value(trial), or_none=True) for trial in sweep.trials)
    return Column(name, value, lambda trial: spelled(value(trial), form), "number" if numbers else "")


def _headline(sweep: Sweep, trial: SweepTrial) -> float | None:
    """The objective where it is the headline metric, else what the run's record says."""
    name = sweep.headline.name
    if name in sweep.objectives and trial.values:
        return trial.values[sweep.objectives.index(name)]
    return trial.metric(name)


def _memory(trial: SweepTrial) -> float | None:
    peak = trial.record.get("peak_memory_bytes")
    return peak / 2**30 if peak else None


def spelled(value: object, form: str = "") -> str:
    """What a cell shows; nothing for None."""
    if value is None:
        return ""
    return format(value, form) if form and isinstance(value, int | float) else text_of(value)


def number_form(value: float) -> str:
    """Four decimals for losses, none for counts."""
    return ",.0f" if abs(value) >= 1000 else ".4f"
