"""Plain values that the macros of parts.html show: large numbers, and columns of tables whose headings sort them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Card(NamedTuple):
    """A large number with what it is."""

    big: str
    small: str


class Column(NamedTuple):
    """A heading; what a row is sorted by under it, and what it shows."""

    name: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], str]
    kind: str = ""  # the class of its cells

    def key(self, row: Any) -> str:
        """The value for the script that sorts; nothing for None."""
        value = self.value(row)
        return "" if value is None else repr(value) if numeric(value) else str(value)


def numeric(value: object, or_none: bool = False) -> bool:
    """Whether a cell's value is a number."""
    return (or_none and value is None) or (isinstance(value, int | float) and not isinstance(value, bool))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is read most easily."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def last_samples(path: Path, most: int) -> list[str]:
    """At most `most` titles under the last heading of a run's samples; none where there is no such file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    last = max((place for place, line in enumerate(lines) if line.startswith("update ")), default=-1)
    return [line.strip() for line in lines[last + 1 :] if line.strip()][:most]
