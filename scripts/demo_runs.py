"""Train six small runs to look at: `python scripts/demo_runs.py [logs/demo] [data.path=titles.parquet ...]`.

Finished ones are not trained again, stopped ones go on. Two of them, baseline and adamw, are the original exercise's
optimizer and the second report's on one small model, validated at the report's 23 points of the run.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.endings import MISTAKE
from frontpage.command.errors import UserError, require
from frontpage.runs.directory import read_record

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "logs/demo"
SHARED = (
    "data=synthetic data.num_titles=4000 data.block_size=32 data.batch_size=16 tokenizer.vocab_size=600"
    " model.d_model=48 model.n_layer=2 model.n_head=4 model.init=normal trainer.accelerator=cpu"
    " trainer.precision=32-true trainer.max_epochs=null callbacks.sample_titles.num=4 log_interval=5"
    " save_interval=1000000"
).split()
# The published comparison has 938 updates, validated after the first, every 44 and at the end; this is half of it.
PUBLISHED = (
    "trainer.max_steps=469 val_interval=22 trainer.validate_first_step=true model.original_metric=always"
    " model.document_mask=false callbacks.sample_titles=null"
).split()
SHORT = "trainer.max_steps=200 val_interval=50 optimizer=adamw optimizer.lr=5e-3 scheduler.warmup=20".split()
MODERN = "model.positions=rotary model.dropout=0.0".split()
RUNS = {  # the longest first; the rates are those of small models
    "baseline": [*PUBLISHED, *"experiment=mainrun_baseline optimizer.lr=6e-2 data.repack=true".split()],
    "adamw": [*PUBLISHED, *"experiment=adamw_gpt optimizer.lr=3e-3 scheduler.warmup=50".split()],
    "unet": [*SHORT, *MODERN, *"model=unet_gpt model.widths=[48,32,48]".split()],
    "local": [*SHORT, *MODERN, *"model/attention=local model.attention.window=8".split()],
    "large_batch": [
        *SHORT,
        *MODERN,
        *"data.batch_size=64 trainer.max_steps=50 val_interval=25 scheduler.warmup=5".split(),
    ],
    "modern_muon": [*SHORT, *"model=modern model.n_layer=1 optimizer=muon".split()],
}


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
    require(len(folders) < 2, "folder", " ".join(folders), "one folder")
    folder = Path(folders[0] if folders else FOLDER)
    start = time.perf_counter()
    missing = [name for name in RUNS if (read_record(folder / name) or {}).get("status") != "finished"]
    print(f"{len(RUNS)} runs in {folder}, {len(RUNS) - len(missing)} finished before", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        statuses = list(pool.map(lambda name: train(name, folder, overrides, arguments.jobs), missing))
    _complain(folder, dict(zip(missing, statuses, strict=True)))
    seconds = time.perf_counter() - start
    print(f"all {len(RUNS)} are finished, in {seconds:.0f} s; a page about them: python scripts/report.py {folder}")
    records = {name: read_record(folder / name) or {} for name in RUNS}
    result = {name: {"status": one.get("status"), "steps": one.get("steps")} for name, one in records.items()}
    save_json(arguments.json, {"folder": str(folder), "trained": missing, "runs": result})


def train(name: str, folder: Path, overrides: list[str], jobs: int) -> int:
    """Train one run in a process of its own, from its last checkpoint if it has one; the exit status."""
    command = [sys.executable, str(ROOT / "train.py"), *choices(name), *overrides]
    command += [f"name={name}", f"hydra.run.dir={(folder / name).resolve()}", "ckpt_path=last"]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    record = read_record(folder / name)
    if ended.returncode == 0 and record:
        loss = record["metrics"]["final"]["val/nats_per_char"]
        print(f"{name}: val/nats_per_char {loss:.4f}, {record['steps']} updates, {record['seconds']:.0f} s", flush=True)
    return ended.returncode


def choices(name: str) -> list[str]:
    """A run's overrides: what all share, then its own; a later value of a key replaces an earlier one."""
    keys = {word.partition("=")[0]: word for word in [*SHARED, *RUNS[name]]}
    return list(keys.values())


def _complain(folder: Path, statuses: dict[str, int]) -> None:
    """Raise where a run failed: a UserError with its own words where the mistake was the user's."""
    for name, status in statuses.items():
        log = folder / f"{name}.log"
        if status == MISTAKE:
            raise UserError(log.read_text(encoding="utf-8").strip().splitlines()[-1])
        if status:
            raise RuntimeError(f"{name} ended with status {status}: see {log}; the same command goes on from here")


if __name__ == "__main__":
    program(main)
