"""Runs as a table: `python scripts/collect_runs.py logs/ [--sort val/nats_per_char] [--where optimizer=AdamW]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import sys
from pathlib import Path

from frontpage.analysis.comparison import compare
from frontpage.analysis.table import (
    check_columns,
    collect_runs,
    default_columns,
    filter_rows,
    headlines,
    need_rows,
    ranked,
    shown,
    sort_rows,
)
from frontpage.analysis.table_text import MADE_BY, aligned, csv_text, markdown, on_a_terminal, paired_table
from frontpage.command.arguments import Arguments, save_json
from frontpage.command.notices import notices
from frontpage.command.output_file import beginning_with, holding
from frontpage.command.terminal import printable
from frontpage.runs.run_arguments import add_trust

LOGS = "logs"


def main() -> None:
    """Collect, filter, sort, print; score and compare where that is asked for."""
    parser = Arguments("Print a table of runs; damaged ones are named and do no harm.", ("runs", "differences"))
    parser.add_argument("paths", nargs="*", default=[LOGS], help=f"directories of runs, or folders of some ({LOGS})")
    parser.add_argument("--sort", metavar="COLUMN", help="lowest first (the best headline first)")
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
    if arguments.sort is None and headlines(rows):
        rows = ranked(rows, worst_first=arguments.descending)
    else:
        rows = sort_rows(rows, arguments.sort or "run", arguments.descending)
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


if __name__ == "__main__":
    program(main)
