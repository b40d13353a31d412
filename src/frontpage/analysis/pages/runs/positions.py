"""Nats a character by position in the document, of the runs that have measured it: a picture and a table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frontpage.analysis.pages.runs.pictures import Line, Lines, lines_of
from frontpage.analysis.pages.web_page.parts import Column
from frontpage.analysis.position_table import words_of
from frontpage.analysis.table import Row
from frontpage.runs.record import LARGEST, read_record


class Positions(NamedTuple):
    """What is drawn, and the rows and columns of the table: a run, and a column for each power of two."""

    picture: Lines | None
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Mapping[int, dict[str, Any]]]]


def positions(rows: Sequence[Row]) -> Positions | None:
    """The picture, each run in the colour of its place, and the table; None where no run has measured it."""
    found = {one["run"]: {_place(bins): bins for bins in measured(Path(one["directory"]))} for one in rows}
    if not any(found.values()):
        return None
    names = {place: words_of(one["first"], one["end"]) for of in found.values() for place, one in of.items()}
    lines = [Line(run, [(place, one["nats_per_char"]) for place, one in of.items()]) for run, of in found.items()]
    what = "nats a character by position"
    drawn = lines_of(lines, "tokens before, in the document", what, from_0=False, names=names)
    columns = [Column("run", lambda row: row[0], lambda row: row[0]), *(_column(names, at) for at in sorted(names))]
    return Positions(drawn, columns, [(run, of) for run, of in found.items() if of])


def measured(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's record that have a value, in order; none where it has none, or damaged ones."""
    kept = (read_record(directory) or {}).get("nats_by_position")
    rows = [one for one in kept if _is_row(one)] if isinstance(kept, list) else []
    return sorted(rows, key=lambda one: one["end"])


def _place(one: Mapping[str, Any]) -> int:
    """Which power of two a row ends at."""
    return one["end"].bit_length()


def _column(names: Mapping[int, str], place: int) -> Column:
    def value(row: tuple[str, Mapping[int, dict[str, Any]]]) -> float | None:
        return row[1][place]["nats_per_char"] if place in row[1] else None

    def shown(row: tuple[str, Mapping[int, dict[str, Any]]]) -> str:
        if place not in row[1]:
            return ""
        error = row[1][place].get("nats_per_char_se")
        return f"{value(row):.4f}" + (f" ± {error:.4f}" if _number(error) else "")

    return Column(names[place], value, shown, "number")


def _is_row(one: Any) -> bool:
    if not isinstance(one, dict) or any(type(one.get(name)) is not int for name in ("first", "end")):
        return False
    return 0 <= one["first"] < one["end"] <= 2**40 and _number(one.get("nats_per_char"))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST
