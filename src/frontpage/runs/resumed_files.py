"""What a continued run's files lack of the updates behind it."""

from pathlib import Path

from frontpage.command.notices import notice
from frontpage.runs.kept_lines import json_of
from frontpage.runs.metrics_table import read_table, step_of
from frontpage.runs.run import Run


def say_gaps(run: Run) -> None:
    """Say which logged training steps only one of `metrics.csv` and `events.jsonl` knows: each writes every one.

    A file that was cut, by hand or by a broken disk, is continued all the same: the rest of it is right.
    """
    steps = {run.metrics_file: _rows(run.metrics_file), run.events_file: _events(run.events_file)}
    known = set().union(*(found for found in steps.values() if found is not None))
    for path, found in steps.items():
        missing = sorted(known - found) if found is not None else []
        if missing:
            where = f"update {missing[0]}" if len(missing) == 1 else f"updates {missing[0]} to {missing[-1]}"
            notice(f"{path} lacks {len(missing)} of {len(known)} logged training steps ({where}): the gap stays")


def _rows(path: Path) -> set[int] | None:
    """The updates of the training rows of `metrics.csv`; None where there is none."""
    if not path.is_file():
        return None
    return {step_of(row) + 1 for row in read_table(path)[1] if row.get("train/loss")}


def _events(path: Path) -> set[int] | None:
    """The updates of the training steps of `events.jsonl`; None where there is none."""
    if not path.is_file():
        return None
    events = [found for line in path.read_bytes().split(b"\n") if isinstance(found := json_of(line), dict)]
    steps = (event.get("step") for event in events if event.get("event") == "training_step")
    return {step for step in steps if type(step) is int}
