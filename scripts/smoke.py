"""Two steps of every experiment on a small embedded corpus, and every debug option once, each in its own process.

    python scripts/smoke.py                        all of them (`make smoke`)
    python scripts/smoke.py quickstart adamw_gpt   these experiments only

Needs no network and leaves nothing behind. Exits with 1 and names what failed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ALL = (path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml"))
# Promoted ones (scripts/promote.py) have run whole, and the sizes of debug=fast need not fit them.
EXPERIMENTS = sorted(name for name in ALL if not name.endswith("_best"))
DEBUGS = sorted(path.stem for path in (ROOT / "configs" / "debug").glob("*.yaml"))
# Starting Python takes longer than two steps, on one core: as many processes as cores, one thread each.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


class Result(NamedTuple):
    """What came of one run."""

    name: str
    seconds: float
    loss: float | None
    problem: str | None
    output: str


def main() -> int:
    """Run, print the table, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help=f"of: {' '.join(EXPERIMENTS)}")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="runs at a time (the cores)")
    arguments = parser.parse_args()
    unknown = sorted({*arguments.experiments} - {*EXPERIMENTS})
    if unknown:
        parser.error(f"no such experiment: {' '.join(unknown)}; there are: {' '.join(EXPERIMENTS)}")
    runs = [(name, "fast") for name in arguments.experiments or EXPERIMENTS]
    if not arguments.experiments:
        runs += [("quickstart", debug) for debug in DEBUGS if debug != "fast"]
    with tempfile.TemporaryDirectory(prefix="frontpage_smoke_") as folder:
        with ThreadPoolExecutor(max(arguments.jobs, 1)) as pool:
            results = list(pool.map(lambda run: smoke(Path(folder), *run), runs))
    return report(results)


def smoke(folder: Path, experiment: str, debug: str) -> Result:
    """Train `experiment` under `debug` in a process of its own and look at its record."""
    name = experiment if debug == "fast" else f"{experiment} debug={debug}"
    directory = folder / f"{experiment}_{debug}"
    command = [sys.executable, "train.py", f"experiment={experiment}", f"debug={debug}"]
    command += [f"hydra.run.dir={directory}", f"paths.log_dir={folder}/logs", f"paths.cache_dir={folder}/cache"]
    start = time.perf_counter()
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = time.perf_counter() - start
    problem, loss = look(directory / "run.json", ended.returncode, steps=2 if debug == "fast" else None)
    print(f"{name}: {problem or 'ok'} ({seconds:.0f} s)", flush=True)
    return Result(name, seconds, loss, problem, ended.stdout)


def look(path: Path, status: int, steps: int | None) -> tuple[str | None, float | None]:
    """(what is wrong with a run or None, its validation loss); `steps` null: those that its own config asks for."""
    if status != 0:
        return f"exit status {status}", None
    if not path.is_file():
        return "no run.json", None
    record = json.loads(path.read_text(encoding="utf-8"))
    final = record["metrics"]["final"]
    loss, steps = final.get("val/loss"), steps or record["config"]["trainer"]["max_steps"]
    if record["status"] != "finished":
        return f"status {record['status']}", loss
    if record["steps"] != steps:
        return f"{record['steps']} steps, not {steps}", loss
    if final.get("val/coverage") != 1:
        return f"val/coverage {final.get('val/coverage')}, not 1", loss
    if loss is None or not math.isfinite(loss):
        return f"val/loss {loss}", None
    return None, loss


def report(results: list[Result]) -> int:
    """Print the end of what each failed run said, the table, and the names of the failures; the exit status."""
    failed = [result for result in results if result.problem]
    for result in failed:
        print(f"\n== the last lines of {result.name}")
        print("\n".join(result.output.splitlines()[-15:]))
    width = max(len(result.name) for result in results)
    print(f"\n{'run':<{width}} {'seconds':>8} {'val/loss':>9}")
    for result in results:
        loss = "-" if result.loss is None else f"{result.loss:.4f}"
        print(f"{result.name:<{width}} {result.seconds:8.1f} {loss:>9}  {result.problem or ''}".rstrip())
    if failed:
        print(f"\nFAILED: {', '.join(result.name for result in failed)}")
        return 1
    print(f"\nall {len(results)} runs finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
