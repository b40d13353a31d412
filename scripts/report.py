"""One page about runs: `python scripts/report.py [logs] [--compare] [--output page.html]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

from frontpage.analysis.comparison import compare
from frontpage.analysis.curves import read_curves
from frontpage.analysis.pages.runs.page import page
from frontpage.analysis.pages.runs.studies import studies
from frontpage.analysis.table import collect_runs, filter_rows, need_rows
from frontpage.command.arguments import Arguments, save_json
from frontpage.command.notices import notices
from frontpage.command.output_file import OutputFile, holding
from frontpage.runs.run_arguments import add_trust

LOGS, PAGE = "logs", "runs.html"
OURS = holding('<script type="application/json" id="runs">')


def main() -> None:
    """Collect the runs, read their curves, write the page."""
    parser = Arguments("Write one HTML page about runs; it needs no network.", ("page", "runs"))
    parser.add_argument("paths", nargs="*", default=[LOGS], help=f"directories of runs, or folders of some ({LOGS})")
    parser.add_output("--output", OURS, help=f"the page ({PAGE} in the first folder)")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only these; may be repeated")
    parser.add_argument(
        "--compare", action="store_true", help="score the runs on their validation titles, and pair them by title"
    )
    add_trust(parser)
    arguments = parser.parse_args()
    rows = filter_rows(collect_runs(*arguments.paths), arguments.where)
    need_rows(rows, "--where")
    first = Path(arguments.paths[0])
    output = arguments.output or OutputFile("--output", first / PAGE, OURS)
    output.check(arguments.overwrite)
    differences = compare([Path(row["directory"]) for row in rows], arguments.trust) if arguments.compare else []
    curves = {row["run"]: read_curves(row["directory"]) for row in rows}
    text = page(rows, curves, differences, studies(arguments.paths, output.path), " ".join(arguments.paths), notices())
    output.write(text)
    print(f"page: {output.path} ({len(text.encode()) / 1e6:.2f} MB, {len(rows)} runs)")
    save_json(
        arguments.json, {"page": str(output.path), "runs": [row["directory"] for row in rows], "notices": notices()}
    )


if __name__ == "__main__":
    program(main)
