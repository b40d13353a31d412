"""Six small runs to look at, trained where they are missing.

Two of them, baseline and adamw, are the original exercise's optimizer and the second report's on one small model,
validated at the report's 23 points of the run.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from frontpage.command.config_folder import ROOT
from frontpage.command.endings import MISTAKE
from frontpage.command.errors import UserError
from frontpage.runs.run import Run

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


def missing_runs(folder: Path) -> list[str]:
    """The names of those that are not finished there."""
    return [name for name in RUNS if (Run(folder / name).record or {}).get("status") != "finished"]


def train_all(names: Sequence[str], folder: Path, overrides: list[str], jobs: int) -> None:
    """Train these, `jobs` at a time; UserError where the mistake was the user's, RuntimeError for other failures."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(lambda name: train(name, folder, overrides, jobs), names))
    _complain(folder, dict(zip(names, statuses, strict=True)))


def train(name: str, folder: Path, overrides: list[str], jobs: int) -> int:
    """Train one run in a process of its own, from its last checkpoint if it has one; the exit status."""
    command = [sys.executable, str(ROOT / "train.py"), *choices(name), *overrides]
    command += [f"name={name}", f"hydra.run.dir={(folder / name).resolve()}", "ckpt_path=last"]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    record = Run(folder / name).record
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
