"""Kill a run at random moments, continue it each time, and compare it with one that nothing interrupted.

python scripts/kill_and_resume.py                          20 kills of a run of half a minute: 5 minutes of a core
python scripts/kill_and_resume.py --kills 3 --seed 7       fewer, at other moments
python scripts/kill_and_resume.py callbacks=ema            further overrides, for both runs

The run trains a tiny net on embedded titles with dropout, accumulation and several epochs. SIGKILL comes at a random
moment after a checkpoint; `ckpt_path=last` continues. At the end the weights and the optimizer's state must agree bit
for bit, and so must metrics.csv, the events and the invented titles: each step once. Columns that measure time or
memory are left out. Exits with 1 and says what differs. Needs no network and leaves nothing behind.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from frontpage.command.arguments import Arguments, number, save_json
from frontpage.runs.directory import read_record

ROOT = Path(__file__).resolve().parents[1]
RUN = (
    "data=synthetic data.num_titles=400 data.block_size=32 data.batch_size=8 tokenizer.vocab_size=300"
    " model.d_model=32 model.n_layer=1 model.n_head=2 model.dropout=0.1 trainer.accelerator=cpu"
    " trainer.accumulate_grad_batches=2 val_interval=35 save_interval=5 log_interval=1"
    " callbacks.sample_titles.num=1 callbacks.sample_titles.max_tokens=8"
).split()
MEASURED = ("time/", "memory/", "elapsed_time", "timestamp")  # what no two runs have in common
LONGEST_WAIT = 300  # seconds for one session to write a checkpoint


class Kill(NamedTuple):
    """One kill: how long after the session's first checkpoint, and where the next session continued."""

    seconds: float
    update: int


def main() -> None:
    """Run once without and once with kills, compare, and leave with status 1 where they differ."""
    parser = Arguments(
        "Kill a run at random moments, continue it, and compare it with an uninterrupted one.", ("kills", "differences")
    )
    parser.add_argument("--kills", type=number(int, 1), default=20, help="how often (default 20)")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the moments (default 0)")
    parser.add_argument("--epochs", type=number(int, 1), default=60, help="length of the run (default 60)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="further settings of both runs")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="frontpage_kill_") as folder:
        settings = [*RUN, f"trainer.max_epochs={arguments.epochs}", f"paths.cache_dir={folder}/cache"]
        settings += arguments.overrides
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        finish(start(whole, settings))
        record = read_record(whole)
        print(f"uninterrupted: {record['steps']} updates in {record['seconds']:.1f} s", flush=True)
        # Each session trains until its first checkpoint anyway; the rest is shared out among the kills.
        window = 1.4 * record["seconds"] / (arguments.kills + 1)
        kills = killed(broken, settings, arguments.kills, random.Random(arguments.seed), window)
        differences = compare(whole, broken)
    result = {
        "kills": [kill._asdict() for kill in kills],
        "updates": record["steps"],
        "seed": arguments.seed,
        "differences": differences,
    }
    save_json(arguments.json, result)
    for difference in differences:
        print(f"DIFFERS: {difference}")
    outcome = f"{len(differences)} differences" if differences else "the same bits, each step once"
    print(f"{len(kills)} kills in a run of {record['steps']} updates: {outcome}")
    sys.exit(1 if differences else 0)


def killed(directory: Path, settings: list[str], kills: int, moments: random.Random, window: float) -> list[Kill]:
    """Run to the end with up to `kills` kills, each a random part of `window` seconds after a new checkpoint."""
    done: list[Kill] = []
    while len(done) < kills:
        before, process = written(directory), start(directory, settings)
        deadline = time.monotonic() + LONGEST_WAIT
        while written(directory) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        seconds = moments.uniform(0, window)
        time.sleep(seconds)
        if process.poll() is not None:
            finish(process)
            print(f"the run ended before kill {len(done) + 1}; a longer one has room for more: --epochs")
            return done
        process.send_signal(signal.SIGKILL)
        process.wait()
        done.append(Kill(seconds, update_of(directory)))
        print(f"kill {len(done):2d}: {seconds:5.2f} s after a checkpoint; last.ckpt is of update {done[-1].update}")
        sys.stdout.flush()
    finish(start(directory, settings))
    return done


def start(directory: Path, settings: list[str]) -> subprocess.Popen:
    """The run in `directory`, from its newest checkpoint if it has one."""
    command = [sys.executable, "train.py", *settings, f"hydra.run.dir={directory}", "ckpt_path=last"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = directory.with_suffix(".log").open("a")
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)


def finish(process: subprocess.Popen) -> None:
    """Wait for the end; raises RuntimeError with what the run said last where it failed."""
    if process.wait() != 0:
        log = Path(next(word for word in process.args if word.startswith("hydra.run.dir=")).partition("=")[2] + ".log")
        raise RuntimeError(f"a run ended with status {process.returncode}:\n" + log.read_text()[-3000:])


def written(directory: Path) -> int:
    """When the newest checkpoint was written, in ns."""
    try:
        return (directory / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    except OSError:
        return 0


def update_of(directory: Path) -> int:
    """The update of `last.ckpt`, or -1 where a kill came between two renames."""
    path = directory / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["global_step"] if path.exists() else -1


def compare(whole: Path, broken: Path) -> list[str]:
    """What two runs have not in common."""
    found = []
    for name in ("last", "best"):
        one, other = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (whole, broken))
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            found += [f"{name}.ckpt: {where}" for where in unequal(one.get(part), other.get(part), part)]
    for name, read in (("metrics.csv", rows), ("events.jsonl", events)):
        one, other = read(whole / name), read(broken / name)
        found += [f"{name}: row {n}: {a} and {b}" for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
        if len(one) != len(other):
            found.append(f"{name}: {len(one)} and {len(other)} rows")
    if (whole / "samples.txt").read_text() != (broken / "samples.txt").read_text():
        found.append("samples.txt")
    return found


def unequal(one: Any, other: Any, where: str) -> list[str]:
    """The places at which two nested states differ."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [place for key in one for place in unequal(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [place for index, pair in pairs for place in unequal(*pair, f"{where}.{index}")]
    return [] if one == other else [where]


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without what is measured by a clock."""
    with path.open(newline="", encoding="utf-8") as file:
        return [timeless(row) for row in csv.DictReader(file)]


def events(path: Path) -> list[dict[str, Any]]:
    """The events that have a step; the others are said by each session."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [timeless(event) for event in map(json.loads, lines) if "step" in event]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what no two runs have in common."""
    return {name: value for name, value in row.items() if not name.startswith(MEASURED)}


if __name__ == "__main__":
    program(main)
