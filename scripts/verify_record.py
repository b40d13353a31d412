"""Train a record again and say whether it holds: `python scripts/verify_record.py NAME [--seed N] [--later FILE]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import sys

from frontpage.analysis.leaderboard.aim import check_reached
from frontpage.analysis.leaderboard.later import score_later
from frontpage.analysis.leaderboard.records import read_record
from frontpage.analysis.leaderboard.repetition import (
    check_experiment,
    fresh_folder,
    seeds_to_run,
    train_again,
    verify_runs,
)
from frontpage.command.arguments import Arguments, number, path_for, save_json
from frontpage.command.errors import UserError
from frontpage.command.notices import notices
from frontpage.runs.run_arguments import add_trust


def main() -> None:
    """Train, compare, and score later titles where they are given; status 1 where the record does not hold."""
    parser = Arguments("Run a record of docs/records/ again, and compare title by title.", ("record", "holds"))
    parser.add_argument("record", help="its name; docs/leaderboard.md lists all")
    parser.add_argument("--seed", type=number(int, 0), help="its own (the first of the record's), or a new one")
    parser.add_argument("--titles", metavar="FILE", help="the file of titles that the record's runs were given")
    once = "titles of a later time, which the new weights are scored on; a file is scored once and kept"
    parser.add_argument("--later", metavar="FILE", help=once)
    goes_on = "of the new runs (a fresh one below logs/records/); the same one again goes on"
    parser.add_argument("--folder", type=path_for("--folder"), help=goes_on)
    instead = "instead of training: runs of the record's experiment, as many as it takes"
    parser.add_argument("--run", nargs="+", type=path_for("--run"), metavar="RUN", help=instead)
    added = "more configs, as train.py takes them"
    parser.add_argument("--config-dir", action="append", default=[], metavar="FOLDER", help=added)
    add_trust(parser)
    arguments = parser.parse_args()
    record, folders = read_record(arguments.record), arguments.config_dir
    check_reached(record)
    check_experiment(record, folders)
    runs = arguments.run
    if runs is None:
        folder = arguments.folder or fresh_folder(record)
        print(f"{record.name}: training {record.recipe} again in {folder}", flush=True)
        runs = train_again(record, seeds_to_run(record, arguments.seed), folder, arguments.titles, folders)
    elif any(one is not None for one in (arguments.seed, arguments.folder, arguments.titles)):
        raise UserError("--run: the runs are there; --seed, --folder and --titles are for new ones")
    verdict = verify_runs(record, runs, arguments.trust, folders)
    print(verdict)
    result = {"record": record.name, "runs": [str(run) for run in runs], **verdict.as_dict()}
    if arguments.later:
        later = score_later(record, runs, arguments.later, arguments.trust, keep=verdict.holds)
        result |= {"later": later}
        print(
            f"{later['titles']:,} later titles ({later['file']}): {later['value']:.6f} ± {later['error']:.6f}, scored"
            f" {later['when']}; left out: {later['trained_on']:,} trained on, {later['validated_on']:,} validated on"
            + ("; not kept, since the record does not hold" if not verdict.holds and later not in record.later else "")
        )
    save_json(arguments.json, result | {"notices": notices()})
    if not verdict.holds:
        sys.exit(1)


if __name__ == "__main__":
    program(main)
