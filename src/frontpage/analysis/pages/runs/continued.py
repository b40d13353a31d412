"""Runs that another one continued in a folder of its own: what that one has used is with what they had used."""

from collections.abc import Sequence
from pathlib import Path

from frontpage.analysis.table import Row
from frontpage.runs.record import read_record, told
from frontpage.runs.run import run_around


def counted_once(rows: Sequence[Row]) -> list[Row]:
    """The rows whose seconds and tokens no other row has in its own: those whose checkpoint no other one names."""
    continued = {origin for one in rows if (origin := _origin(Path(one["directory"]))) is not None}
    return [one for one in rows if Path(one["directory"]) not in continued]


def _origin(directory: Path) -> Path | None:
    """The other run whose checkpoint this one began with; None where it names none."""
    checkpoint = told(read_record(directory), "config", "ckpt_path")
    if not isinstance(checkpoint, str) or checkpoint == "last" or "\0" in checkpoint:
        return None
    return run_around(Path(checkpoint)).path.resolve()
