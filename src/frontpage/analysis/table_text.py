"""A table of runs as text: for a terminal, for a document, and for a spreadsheet."""

import re
import shutil
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from frontpage.analysis.comparison import Difference
from frontpage.analysis.table import Row, fitting, spelled
from frontpage.evaluation.metrics import HEADLINE

# What spreadsheets take for a formula; the last four are the first four on an East Asian keyboard.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")
MADE_BY = "<!-- made by scripts/collect_runs.py -->"  # not shown in a document


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Columns of one width each on a terminal, numbers to the right.

    rich's own tables fold their cells at 80 columns where there is no terminal, and a file or a pipe takes whole lines.
    """
    columns = list(zip(*cells, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    right = [all(not cell or cell[0].isdigit() or cell[0] in "-+" for cell in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            " " * (width - cell_len(cell)) + cell if number else set_cell_size(cell, width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def on_a_terminal(cells: Sequence[Sequence[str]]) -> str:
    """The columns that fit beside each other, and which do not."""
    places = dict(zip(cells[0], zip(*cells, strict=True), strict=True))
    widths = [max(map(cell_len, column)) for column in places.values()]
    chosen = fitting(cells[0], widths, shutil.get_terminal_size().columns)
    left = [name for name in cells[0] if name not in chosen]
    table = aligned([*zip(*(places[name] for name in chosen), strict=True)])
    return f"{table}\ntoo wide for this terminal (--columns A,B shows them): {' '.join(left)}" if left else table


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """The table for a document."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    lines = [escaped[0], ["---"] * len(cells[0]), *escaped[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{MADE_BY}\n"


def paired_table(differences: Sequence[Difference], rows: Sequence[Row]) -> str:
    """Each run against the best, title by title."""
    names = {row["directory"]: row["run"] for row in rows}
    lines = [["run", HEADLINE.name, "minus the best", "standard error", "in errors"]]
    for one in differences:
        spread = f"{one.difference / one.error:+.1f}" if one.error else ""
        numbers = [f"{one.value:.4f}", f"{one.difference:+.4f}", f"{one.error:.4f}", spread]
        lines.append([names[str(one.directory)], *numbers])
    titles = f"best checkpoints, paired over {differences[0].titles:,} validation texts, nats a character"
    return f"{titles}\n{aligned(lines)}"


def csv_text(rows: Sequence[Row]) -> str:
    """Every column, so that no program that opens the table takes a text for a formula."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    lines = [names, *([row.get(name) for name in names] for row in rows)]
    return "".join(",".join(map(_cell, line)) + "\n" for line in lines)


def _cell(value: Any) -> str:
    """A value as the command line spells it, nothing for None; a text that begins like a formula behind a quote."""
    if value is None:
        return ""
    text = spelled(value)
    if isinstance(value, str) and text.startswith(FORMULA) and not _is_number(text):
        text = f"'{text}"
    # csv.writer leaves a carriage return bare, at which readers end the row.
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\r\n]', text) else text


def _is_number(text: str) -> bool:
    """Whether a text such as -0.5 is a number in whatever opens the table."""
    try:
        float(text)
    except ValueError:
        return False
    return True
