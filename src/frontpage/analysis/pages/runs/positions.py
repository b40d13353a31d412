"""Nats a character by position in the document, of the runs that have measured it: a picture and a table."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.pages.runs.lines import Line, picture
from frontpage.analysis.pages.web_page.parts import row, sortable
from frontpage.analysis.position_table import words_of
from frontpage.analysis.table import Row
from frontpage.runs.record import LARGEST, read_record

CAPTION = (
    "Nats a character of the best checkpoint's validation documents by the tokens that stand before in the document,"
    " in powers of two: a longer context helps where a line falls. The error is that of one run over documents; of the"
    " first positions there are few tokens."
)


def positions(rows: Sequence[Row]) -> str:
    """The picture, each run in the colour of its place, and the table; nothing where no run has measured it."""
    found = {one["run"]: measured(Path(one["directory"])) for one in rows}
    if not any(found.values()):
        return ""
    names = {bins["end"].bit_length(): words_of(bins["first"], bins["end"]) for of in found.values() for bins in of}
    lines = [Line(run, [(bins["end"].bit_length(), bins["nats_per_char"]) for bins in of]) for run, of in found.items()]
    drawn = picture(lines, "tokens before, in the document", "nats a character by position", names)
    heads, body = ["run", *(names[place] for place in sorted(names))], []
    for run, of in found.items():
        there = {bins["end"].bit_length(): bins for bins in of}
        cells = [_cell(there.get(place)) for place in sorted(names)]
        body += [row(False, [(run, "", run), *cells])] if of else []
    table = sortable(heads, set(heads[1:]), body, "positions-table")
    return f"<h2>Loss by position</h2><p class='caption'>{CAPTION}</p>{drawn}{table}"


def measured(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's record that have a value, in order; none where it has none, or damaged ones."""
    kept = (read_record(directory) or {}).get("nats_by_position")
    rows = [one for one in kept if _is_row(one)] if isinstance(kept, list) else []
    return sorted(rows, key=lambda one: one["end"])


def _is_row(one: Any) -> bool:
    if not isinstance(one, dict) or any(type(one.get(name)) is not int for name in ("first", "end")):
        return False
    return 0 <= one["first"] < one["end"] <= 2**40 and _number(one.get("nats_per_char"))


def _cell(one: dict[str, Any] | None) -> tuple[Any, ...]:
    if one is None:
        return None, "number", ""
    error = one.get("nats_per_char_se")
    shown = f"{one['nats_per_char']:.4f}" + (f" ± {error:.4f}" if _number(error) else "")
    return one["nats_per_char"], "number", shown


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST
