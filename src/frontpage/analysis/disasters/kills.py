"""A run that is killed at random moments and continued each time, and its differences from an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from frontpage.analysis.disasters.records import events, rows
from frontpage.command.config_folder import ROOT
from frontpage.command.override_words import literal
from frontpage.runs.run import Run

# Not precision auto, which is measured and may come out differently in the two.
RUN = (
    "data=synthetic data.num_titles=400 data.block_size=32 data.batch_size=8 tokenizer.vocab_size=300"
    " model.d_model=32 model.n_layer=1 model.n_head=2 model.dropout=0.1 trainer.accelerator=cpu"
    " trainer.precision=32-true"
    " trainer.accumulate_grad_batches=2 val_interval=35 save_interval=5 log_interval=1"
    " callbacks.sample_titles.num=1 callbacks.sample_titles.max_tokens=8"
).split()
LONGEST_WAIT = 300  # seconds for one session to write a checkpoint


class Kill(NamedTuple):
    """One kill: how long after the session's first checkpoint, and where the next session continued."""

    seconds: float
    update: int


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
            finish(process, directory)
            print(f"the run ended before kill {len(done) + 1}; a longer one has room for more: --epochs")
            return done
        process.send_signal(signal.SIGKILL)
        process.wait()
        done.append(Kill(seconds, update_of(directory)))
        print(f"kill {len(done):2d}: {seconds:5.2f} s after a checkpoint; last.ckpt is of update {done[-1].update}")
        sys.stdout.flush()
    finish(start(directory, settings), directory)
    return done


def start(directory: Path, settings: list[str]) -> subprocess.Popen:
    """The run in `directory`, from its newest checkpoint if it has one."""
    command = [sys.executable, "train.py", *settings, f"hydra.run.dir={literal(str(directory))}", "ckpt_path=last"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = directory.with_suffix(".log").open("a")
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)


def finish(process: subprocess.Popen, directory: Path) -> None:
    """Wait for the end of the run in `directory`; raises RuntimeError with what the run said last where it failed."""
    if process.wait() != 0:
        said = directory.with_suffix(".log").read_text()
        raise RuntimeError(f"a run ended with status {process.returncode}:\n" + said[-3000:])


def written(directory: Path) -> int:
    """When the newest checkpoint was written, in ns."""
    try:
        return Run(directory).last.stat().st_mtime_ns
    except OSError:
        return 0


def update_of(directory: Path) -> int:
    """The update of `last.ckpt`, or -1 where a kill came between two renames."""
    path = Run(directory).last
    return torch.load(path, weights_only=True)["global_step"] if path.exists() else -1


def compare(whole: Path, broken: Path) -> list[str]:
    """What two runs have not in common."""
    found = []
    for name in ("last", "best"):
        one, other = (torch.load(Run(run).checkpoints / f"{name}.ckpt", weights_only=True) for run in (whole, broken))
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
