"""The parts of a report: the document around it, escaped text, tables whose headings sort them, warnings."""

import json
from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from frontpage.command.masking import hide, hide_all
from frontpage.command.terminal import printable_lines

HERE = Path(__file__).parent


def document(title: str, body: Iterable[str], scripts: Sequence[str] = (), style: str = "") -> str:
    """A whole page that needs no network; `scripts` are whole elements that stand at its end."""
    shared = (HERE / "page.css").read_text(encoding="utf-8")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{shared}{style}</style></head>\n<body>{''.join(body)}\n" + "\n".join(scripts) + "</body></html>\n"
    )


def text(value: object) -> str:
    """What may stand in an element or in a quoted attribute; secrets are hidden, control characters visible."""
    return escape(printable_lines(hide(str(value))))


def embedded_json(content: Any) -> str:
    """JSON that may stand in a script element: no text in it can end the script."""
    return json.dumps(hide_all(content), allow_nan=False).replace("<", "\\u003c")


def table_script() -> str:
    """What sorts a table when a heading is clicked."""
    return (HERE / "table.js").read_text(encoding="utf-8")


def warning(message: str) -> str:
    """A notice that must be seen."""
    return f'<p class="warning">{text(message)}</p>'


def cards(shown: Iterable[tuple[str, str]]) -> str:
    """Large numbers, each with what it is."""
    inside = "".join(f'<div class="card"><b>{text(big)}</b><span>{text(small)}</span></div>' for big, small in shown)
    return f'<div class="cards">{inside}</div>'


def numeric(value: object, or_none: bool = False) -> bool:
    """Whether a cell's value is a number."""
    return (or_none and value is None) or (isinstance(value, int | float) and not isinstance(value, bool))


def row(best: bool, cells: Iterable[tuple[Any, ...]]) -> str:
    """A row of a table from (value to sort by, class, what is shown if not the value)."""
    parts = []
    for value, kind, *shown in cells:
        sort = "" if value is None else repr(value) if numeric(value) else str(value)
        parts.append(f'<td class="{kind}" data-value="{text(sort)}">{text(shown[0] if shown else value)}</td>')
    return f"<tr{' class=winner' if best else ''}>{''.join(parts)}</tr>"


def sortable(names: Sequence[str], numbers: Collection[str], rows: Iterable[str], key: str) -> str:
    """A table whose headings sort it; `numbers` are the headings of columns of numbers."""
    heads = "".join(
        f'<th scope="col" data-column="{place}"{" class=number" if name in numbers else ""}>{text(name)}</th>'
        for place, name in enumerate(names)
    )
    body = "\n".join(rows)
    return f'<div class="scroll"><table id="{key}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


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
