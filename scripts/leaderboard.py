"""Write docs/leaderboard.md, and its table in README.md, from docs/records/; `--check` them, or `--add` a record."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

from frontpage.analysis.leaderboard import records
from frontpage.analysis.leaderboard.entry import enter
from frontpage.analysis.leaderboard.excerpt import README, with_excerpt
from frontpage.analysis.leaderboard.page import PAGE, page_of
from frontpage.analysis.leaderboard.records import all_records
from frontpage.analysis.leaderboard.tracks import TRACKS
from frontpage.command.arguments import Arguments, path_for
from frontpage.command.errors import UserError
from frontpage.command.written_page import settle_page
from frontpage.runs.run_arguments import add_trust


def main() -> None:
    """Enter a record where runs are given, then write the page; or say whether it is what would be written."""
    parser = Arguments("Write docs/leaderboard.md, and its table in README.md, from the records below docs/records/.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a page is stale")
    runs = "directories of finished runs of one experiment, one a seed: entered as a record, or in the place of one"
    parser.add_argument("--add", nargs="+", metavar="RUN", type=path_for("--add"), help=runs)
    parser.add_argument("--name", help="of the record: small letters, digits and _")
    parser.add_argument("--track", choices=[*TRACKS], help="where it stands")
    parser.add_argument("--about", metavar="TEXT", help="one paragraph on what it does; an earlier one is kept without")
    parser.add_argument("--reaches", metavar="RECORD", help="in the track `work`: the record whose loss is reached")
    parser.add_argument("--experiment", help="where the runs' name is not that of their experiment")
    changed = "what the runs change of the experiment, as they were given it; may be said again"
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help=changed)
    added = "more configs, as train.py takes them"
    parser.add_argument("--config-dir", action="append", default=[], metavar="FOLDER", help=added)
    add_trust(parser)
    arguments = parser.parse_args()
    if arguments.add:
        if arguments.check or arguments.name is None or arguments.track is None:
            raise UserError("--add: takes --name NAME and --track TRACK, and no --check")
        name, track, about, reaches = arguments.name, arguments.track, arguments.about, arguments.reaches
        recipe = arguments.experiment, arguments.override
        record = enter(arguments.add, name, track, about, reaches, *recipe, arguments.config_dir, arguments.trust)
        print(f"{records.RECORDS / name}: {record.loss:.4f} ± {record.error:.4f} of {len(record.runs)} runs")
    elif any((arguments.name, arguments.track, arguments.about, arguments.reaches, arguments.experiment)):
        raise UserError("--name, --track, --about, --reaches and --experiment: of runs that --add RUN enters")
    kept = all_records()
    readme = README.read_text(encoding="utf-8")
    for path, text in {PAGE: page_of(kept), README: with_excerpt(readme, kept)}.items():
        settle_page(Path(path), text, "the records say", "python scripts/leaderboard.py", arguments.check)


if __name__ == "__main__":
    program(main)
