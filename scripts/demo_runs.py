"""Train six small runs to look at: `python scripts/demo_runs.py [logs/demo] [data.path=titles.parquet ...]`.

Finished ones are not trained again, stopped ones go on.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import os
import time
from pathlib import Path

from frontpage.analysis.demonstration import RUNS, choices
from frontpage.analysis.run_set import missing_runs, train_all
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import BadValue
from frontpage.runs.run import Run

FOLDER = "logs/demo"


def main() -> None:
    """Train what is missing, and say where it lies."""
    parser = Arguments(
        "Train six small runs of different architectures, attentions and optimizers.", ("folder", "trained", "runs")
    )
    parser.add_argument("words", nargs="*", metavar="[folder] key=value", help=f"where ({FOLDER}), and overrides")
    parser.add_argument("--jobs", type=number(int, 1, 64), default=os.cpu_count() or 1, help="at a time (the cores)")
    arguments = parser.parse_intermixed_args()
    folders = [word for word in arguments.words if "=" not in word]
    overrides = [word for word in arguments.words if "=" in word]
    if not (len(folders) < 2):
        raise BadValue("folder", " ".join(folders), "one folder")
    folder = Path(folders[0] if folders else FOLDER)
    start = time.perf_counter()
    runs = {name: [*choices(name), *overrides] for name in RUNS}
    missing = missing_runs(runs, folder)
    print(f"{len(RUNS)} runs in {folder}, {len(RUNS) - len(missing)} finished before", flush=True)
    train_all({name: runs[name] for name in missing}, folder, arguments.jobs)
    seconds = time.perf_counter() - start
    print(f"all {len(RUNS)} are finished, in {seconds:.0f} s; a page about them: python scripts/report.py {folder}")
    records = {name: Run(folder / name).record or {} for name in RUNS}
    result = {name: {"status": one.get("status"), "steps": one.get("steps")} for name, one in records.items()}
    save_json(arguments.json, {"folder": str(folder), "trained": missing, "runs": result})


if __name__ == "__main__":
    program(main)
