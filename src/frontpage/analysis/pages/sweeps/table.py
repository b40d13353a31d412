"""The table of all trials: its columns, and what stands in them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial, text_of

LEGACY = ("val/mainrun_loss", "val/mainrun_coverage")


class Column(NamedTuple):
    """A heading, what stands under it, and how a number is written."""

    name: str
    value: Callable[[SweepTrial], Any]
    form: str = ""


def columns_of(sweep: Sweep) -> list[Column]:
    """The columns that at least one trial fills.

    The headline, its standard error, the original exercise's number and the share of the tokens that this one
    scored stand side by side (docs/metrics.md).
    """
    headline = sweep.headline
    objectives = [
        Column(
            name, lambda trial, at=place: trial.values and trial.values[at], ",.0f" if name == "parameters" else ".4f"
        )
        for place, name in enumerate(sweep.objectives)
        if name != headline.name
    ]
    columns = [
        Column("trial", lambda trial: trial.number),
        Column("state", lambda trial: trial.state),
        Column(headline.name, lambda trial: _headline(sweep, trial), ".4f"),
        Column("± standard error", lambda trial: headline.error and trial.metric(headline.error), ".4f"),
        *(Column(name, lambda trial, name=name: trial.metric(name), ".4f") for name in LEGACY),
        *(one for one in objectives if one.name not in LEGACY),
        *(Column(name, lambda trial, name=name: trial.frozen.params.get(name)) for name in sweep.parameters()),
        Column("updates", lambda trial: trial.record.get("steps") or max(trial.curve, default=None), ","),
        Column("tokens seen", lambda trial: trial.record.get("tokens_seen"), ","),
        Column("seconds", lambda trial: trial.record.get("seconds"), ",.0f"),
        *(
            []
            if "parameters" in sweep.objectives
            else [Column("weights", lambda trial: trial.record.get("parameters"), ",")]
        ),
        Column("memory, GiB", _memory, ".2f"),
    ]
    return [one for one in columns if any(one.value(trial) is not None for trial in sweep.trials)]


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
