"""Make the best trial of a study an experiment: `python scripts/promote.py <study> [--trial N] [--name x]`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import shlex
from pathlib import Path

from frontpage.analysis.pages.sweeps.best import best_of, train_command, trial_of
from frontpage.analysis.pages.sweeps.study_file import open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import BadValue
from frontpage.command.notices import notice, notices
from frontpage.runs.run_arguments import add_trust
from frontpage.sweeps.promotion import experiment_name, write_experiment


def main() -> None:
    """Read the study, compose its winner, compare with what the winner was, write the file."""
    parser = Arguments(
        "Write configs/experiment/<study>_best.yaml, which composes to exactly what a trial trained.",
        ("study", "trial", "experiment"),
    )
    parser.add_argument(
        "study", help="a study's name, its journal file, or a database URL (#NAME picks one of several)"
    )
    parser.add_argument("--trial", type=number(int, 0), help="instead of the best one; the best by the first objective")
    parser.add_argument("--name", help="of the experiment (the study's name); _best is added where it lacks")
    parser.add_argument("--force", action="store_true", help="overwrite an experiment of that name")
    added = "that the search had added"
    parser.add_argument("--config-dir", action="append", default=[], type=_folder, metavar="FOLDER", help=added)
    add_trust(parser)
    arguments = parser.parse_args()
    if not arguments.study:
        raise BadValue("study", "", "give a study's name, its journal file or a database URL")
    sweep = read_sweep(open_study(arguments.study))
    trial = trial_of(sweep, arguments.trial)
    others = [str(one.number) for one in sweep.pareto if one != trial]
    if arguments.trial is None and len(sweep.objectives) > 1 and others:
        notice(
            f"trial {trial.number} is the best by {sweep.objectives[0]}; --trial takes another that none beats in all:"
            f" {' '.join(others)}"
        )
    name = experiment_name(sweep.name if arguments.name is None else arguments.name)
    folders = arguments.config_dir
    best = best_of(sweep, trial, name, arguments.study, arguments.trust, folders)
    path = write_experiment(best.text, name, arguments.force)
    command = shlex.join([*train_command(folders), f"experiment={name}"])
    print(f"{path}: trial {trial.number} of {len(sweep.trials)}\n\n{best.text}\n{command}")
    save_json(
        arguments.json,
        {
            "study": sweep.name,
            "trial": trial.number,
            "experiment": name,
            "path": str(path),
            "overrides": best.promotion.overrides(),
            "notices": notices(),
        },
    )


def _folder(text: str) -> str:
    if not text or not Path(text).is_dir():
        raise BadValue("--config-dir", text, "a folder of configs, which must exist")
    return text


if __name__ == "__main__":
    program(main)
