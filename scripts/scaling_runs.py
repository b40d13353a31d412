"""Train the runs of a scaling law: `python scripts/scaling_runs.py logs/scaling data.path=titles.parquet`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import os
import re

from frontpage.analysis.scaling.grid import HEAD, Planned, Study, composed, train_all
from frontpage.command.arguments import Arguments, number, path_for, save_json, several
from frontpage.command.errors import BadValue
from frontpage.runs.run import Run


def main() -> None:
    """Train what is not finished yet, the largest first, and say how to fit."""
    parser = Arguments(
        "Train a grid of model sizes and token counts, and a larger run to predict; takes up where it stopped.",
        ("folder", "trained", "runs"),
    )
    parser.add_argument(
        "folder", type=path_for("folder"), help="where the runs go, each in a folder such as 64x2_500000"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="as for train.py, e.g. data.path=titles.parquet"
    )
    parser.add_argument("--sizes", type=several(size), default="32x2,64x2,96x3,128x5", metavar="WIDTHxLAYERS,...")
    parser.add_argument("--tokens", type=several(number(float, 1)), default="5e5,1.5e6,4.5e6", metavar="TOKENS,...")
    parser.add_argument(
        "--held-out", type=several(held_out, none=True), default="192x5:4.5e6", metavar="WIDTHxLAYERS:TOKENS,..."
    )
    seeds_help = "each run once with each of these; folders such as 64x2_500000_seed1"
    parser.add_argument(
        "--seeds", type=several(number(int, 0), none=True), default="", metavar="SEED,...", help=seeds_help
    )
    parser.add_argument(
        "--jobs", type=number(int, 1, 64), default=os.cpu_count() or 1, help="runs at a time (the cores)"
    )
    arguments = parser.parse_intermixed_args()
    study = Study(arguments.folder, arguments.overrides, composed(arguments.overrides, arguments.seeds), arguments.jobs)
    seeds = arguments.seeds or [None]
    sizes = [(*one, int(tokens)) for one in arguments.sizes for tokens in arguments.tokens]
    grid = [Planned(*one, seed) for one in sizes for seed in seeds]
    extra = [Planned(*one, seed) for one in arguments.held_out for seed in seeds]
    runs = list(dict.fromkeys([*grid, *extra]))
    for run in runs:
        least = study.update_tokens
        if not (run.tokens >= least):
            raise BadValue("--tokens", run.tokens, f"at least the {least:,} of an update")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    trained = train_all(runs, study)
    fit = f"python scripts/scaling_law.py {arguments.folder}"
    fit += "".join(f" --hold-out {arguments.folder / run.name}" for run in extra if run not in grid)
    result = {run.name: Run(arguments.folder / run.name).record or {} for run in runs}
    told = {name: {key: record.get(key) for key in ("steps", "seconds", "metrics")} for name, record in result.items()}
    save_json(arguments.json, {"folder": str(arguments.folder), "trained": trained, "runs": told})
    print(f"\nall runs are finished; the fit:\n  {fit} --plot {arguments.folder}/law.png")


def size(text: str) -> tuple[int, int]:
    """`64x2`: (width, layers)."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or int(found[1]) % HEAD or not int(found[1]) or not int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxLAYERS such as 64x2, the width a multiple of {HEAD}")
    return int(found[1]), int(found[2])


def held_out(text: str) -> tuple[int, int, int]:
    """`192x5:4.5e6`: (width, layers, tokens)."""
    shape, _, tokens = text.partition(":")
    return *size(shape), int(number(float, 1)(tokens))


if __name__ == "__main__":
    program(main)
