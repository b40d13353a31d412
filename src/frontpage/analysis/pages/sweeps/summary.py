"""A study in numbers, its winner and its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.pages.sweeps.best import Best, best_of
from frontpage.analysis.pages.sweeps.sweep import Sweep
from frontpage.analysis.pages.sweeps.table import LEGACY
from frontpage.command.errors import BadValue, UserError
from frontpage.sweeps.promotion import experiment_name

PAGE = "report.html"


def summary(sweep: Sweep) -> dict[str, Any]:
    """The study in numbers."""
    winner = sweep.winner
    measured = [name for name in (sweep.headline.name, sweep.headline.error) if name]
    return {
        "study": sweep.name,
        "objectives": sweep.objectives,
        "counts": sweep.counts,
        "best": None if winner is None else {"trial": winner.number, "values": winner.values},
        "pareto": [trial.number for trial in sweep.pareto],
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "values": trial.values,
                "params": trial.frozen.params,
                "reason": trial.reason,
                "directory": None if trial.directory is None else str(trial.directory),
                **{name: trial.metric(name) for name in (*measured, *LEGACY)},
                **{name: trial.record.get(name) for name in ("parameters", "steps", "tokens_seen", "seconds")},
            }
            for trial in sweep.trials
        ],
    }


def page_beside(sweep: Sweep) -> Path:
    if sweep.folder is None or not sweep.folder.is_dir():
        raise BadValue("--output", None, "the study's folder is not there; name a file")
    return sweep.folder / PAGE


def best_or_why(
    sweep: Sweep, study: str, trusted: Sequence[Path] = (), folders: Sequence[Path | str] = ()
) -> tuple[Best | None, str]:
    """The winner's experiment as of `best_of`, or why there is none: the page is worth reading without it."""
    if sweep.winner is None:
        return None, "no trial has finished"
    try:
        return best_of(sweep, sweep.winner, experiment_name(sweep.name), study, trusted, folders), ""
    except UserError as error:
        return None, str(error)
