"""Runs as a table: `python scripts/collect_runs.py logs/ [--sort val/nats_per_char] [--where optimizer=AdamW]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.comparison import Difference, compare
from frontpage.analysis.table import (
    HEADLINE,
    Row,
    check_columns,
    collect_runs,
    default_columns,
    filter_rows,
    fitting,
    need_rows,
    shown,
    sort_rows,
    spelled,
)
from frontpage.command.arguments import Arguments, save_json
from frontpage.command.notices import notices
from frontpage.command.output_file import beginning_with, holding
from frontpage.command.terminal import printable
from frontpage.runs.run_arguments import add_trust

LOGS = "logs"
# What spreadsheets take for a formula; the last four are the first four on an East Asian keyboard.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")
MADE_BY = "<!-- made by scripts/collect_runs.py -->"  # not shown in a document


def main() -> None:
    """Collect, filter, sort, print; score and compare where that is asked for."""
    parser = Arguments("Print a table of runs; damaged ones are named and do no harm.", ("runs", "differences"))
    parser.add_argument("paths", nargs="*", default=[LOGS], help=f"directories of runs, or folders of some ({LOGS})")
    parser.add_argument("--sort", metavar="COLUMN", help=f"lowest first ({HEADLINE}, where a run has it)")
    parser.add_argument("--descending", action="store_true", help="highest first")
    parser.add_argument("--columns", type=lambda text: text.split(","), metavar="A,B", help="instead of the usual ones")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only these; may be repeated")
    parser.add_argument(
        "--compare", action="store_true", help="score the runs on their validation titles, and pair them by title"
    )
    parser.add_output("--csv", beginning_with("run,name,directory,status"), help="every column, numbers unrounded")
    parser.add_output("--markdown", holding(MADE_BY), help="the table that is printed")
    add_trust(parser)
    arguments = parser.parse_args()

    rows = filter_rows(collect_runs(*arguments.paths), arguments.where)
    need_rows(rows, "--where")
    by = arguments.sort or (HEADLINE if any(HEADLINE in row for row in rows) else "run")
    rows = sort_rows(rows, by, arguments.descending)
    if arguments.columns:
        check_columns(rows, arguments.columns, "--columns")
    columns = arguments.columns or default_columns(rows)
    cells = [columns] + [[shown(column, row.get(column)) for column in columns] for row in rows]
    cells = [[printable(cell) for cell in line] for line in cells]  # a name of a run may move the cursor
    print(aligned(cells) if arguments.columns or not sys.stdout.isatty() else on_a_terminal(cells))
    differences = compare([Path(row["directory"]) for row in rows], arguments.trust) if arguments.compare else []
    if arguments.compare:
        print(f"\n{paired_table(differences, rows)}")
    if arguments.csv is not None:
        arguments.csv.write(csv_text(rows))
    if arguments.markdown is not None:
        arguments.markdown.write(markdown(cells))
    result = {"runs": rows, "differences": [one.as_dict() for one in differences], "notices": notices()}
    save_json(arguments.json, result)


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Columns of one width each, numbers to the right."""
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(not cell or cell[0].isdigit() or cell[0] in "-+" for cell in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def on_a_terminal(cells: Sequence[Sequence[str]]) -> str:
    """The columns that fit beside each other, and which do not."""
    places = dict(zip(cells[0], zip(*cells, strict=True), strict=True))
    widths = [max(map(len, column)) for column in places.values()]
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
    lines = [["run", HEADLINE, "minus the best", "standard error", "in errors"]]
    for one in differences:
        spread = f"{one.difference / one.error:+.1f}" if one.error else ""
        numbers = [f"{one.value:.4f}", f"{one.difference:+.4f}", f"{one.error:.4f}", spread]
        lines.append([names[str(one.directory)], *numbers])
    titles = f"best checkpoints, paired over {differences[0].titles:,} validation titles, nats a character"
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


if __name__ == "__main__":
    program(main)
