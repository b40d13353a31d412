"""The runs of a scaling law: a grid of model sizes and token counts, trained a few at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from frontpage.analysis.leaderboard.experiment import is_own
from frontpage.command.config_folder import CONFIGS, ROOT
from frontpage.command.endings import MISTAKE
from frontpage.command.errors import BadValue, UserError
from frontpage.command.leaves import leaves
from frontpage.command.masking import HIDDEN
from frontpage.command.override_words import literal
from frontpage.data.files import read_titles
from frontpage.runs.run import Run
from frontpage.sweeps.promotion import resolved, same_value
from frontpage.training.preflight import check_config

EXPERIMENT = "experiment=scaling_gpt"
HEAD = 32  # numbers a head: wide ones are fast on a CPU
STARTING = 1.5e11  # operations that starting and validating a run are counted as, for the time that is left
SET_HERE = ("model.d_model", "model.n_layer", "model.n_head", "optimizer.lr", "trainer.max_steps", "trainer.max_epochs")
SEEDED = "seed", "data.packing_seed", "callbacks.sample_titles.seed"  # of a run of several seeds
OF_A_RUN = (
    *SET_HERE,
    "val_interval",
    "model.optimizer.",
    "trainer.val_interval",
    "save_interval",
    "callbacks.sample_titles",
    "callbacks.last_checkpoint.interval",
)


class Planned(NamedTuple):
    """One run of the study."""

    width: int
    layers: int
    tokens: int
    seed: int | None = None  # null: that of the overrides

    @property
    def name(self) -> str:
        """The run's folder, such as 64x2_500000, or with a seed 64x2_500000_seed1."""
        return f"{self.width}x{self.layers}_{self.tokens}" + ("" if self.seed is None else f"_seed{self.seed}")

    def flops(self, vocabulary: int) -> float:
        """Operations, about: 6 a token and multiplying parameter."""
        return 6.0 * self.tokens * (12 * self.layers * self.width**2 + vocabulary * self.width) + STARTING


class Study(NamedTuple):
    """Where the runs go, the overrides and the config that they share, and how many are trained at a time."""

    folder: Path
    overrides: list[str]
    config: DictConfig
    jobs: int

    @property
    def update_tokens(self) -> int:
        """Tokens of an update."""
        data = self.config.data
        return data.block_size * data.batch_size * self.config.trainer.accumulate_grad_batches


def composed(overrides: list[str], seeds: Sequence[int] = ()) -> DictConfig:
    """The config that the runs share; UserError for what train.py would refuse, and for what the grid sets."""
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in SET_HERE or (seeds and key == "seed"):
            raise BadValue(key, override.partition("=")[2], "is set for each run of the grid; leave it out")
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", EXPERIMENT, *overrides])
    check_config(config)
    accumulation = config.trainer.accumulate_grad_batches
    if not isinstance(accumulation, int):
        raise BadValue("trainer.accumulate_grad_batches", accumulation, "one number: the grid counts tokens in updates")
    if config.data.path is not None:
        read_titles(config.data.path, config.data.column)
    return config


def train_all(runs: Sequence[Planned], study: Study) -> list[str]:
    """Train the runs, `jobs` at a time, and name those that were not finished before.

    UserError where the first mistake was the user's, RuntimeError for others.
    """
    missing = [run for run in runs if status(study.folder / run.name) != "finished"]
    for run in runs:
        if run not in missing:
            _check_same(study.folder / run.name, study, run.seed)
    flops = {run: run.flops(study.config.tokenizer.vocab_size) for run in missing}
    missing.sort(key=flops.__getitem__, reverse=True)
    print(f"{len(runs)} runs, {len(runs) - len(missing)} finished before, {study.jobs} at a time", flush=True)
    left, start = sum(flops.values()), time.perf_counter()
    done, failed = 0.0, []
    with ThreadPoolExecutor(study.jobs) as pool:
        waiting = {pool.submit(train_one, run, study): run for run in missing}
        try:
            for place, future in enumerate(as_completed(waiting), start=1):
                run, problem = waiting[future], future.result()
                done, left = done + flops[run], left - flops[run]
                minutes = (time.perf_counter() - start) / done * left / 60
                said = problem or summary(study.folder / run.name)
                print(f"[{place}/{len(missing)}] {run.name}: {said}; about {minutes:.0f} minutes left", flush=True)
                if problem:
                    failed.append(run.name)
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        raise RuntimeError(
            f"{failed[0]} failed: see {study.folder / failed[0]}.log; the same command goes on from here"
        )
    return [run.name for run in missing]


def train_one(run: Planned, study: Study) -> str | None:
    """Train one run in a process of its own, from its last checkpoint if it has one; what went wrong, or None."""
    directory = study.folder / run.name
    base = study.config.model.d_model / run.width  # the experiment's rate is that of its width; wider ones need less
    command = [sys.executable, str(ROOT / "train.py"), EXPERIMENT, *study.overrides]
    command += [f"model.d_model={run.width}", f"model.n_layer={run.layers}", f"model.n_head={run.width // HEAD}"]
    command += [
        f"optimizer.lr={study.config.optimizer.lr * base**0.5:.4g}",
        f"trainer.max_steps={round(run.tokens / study.update_tokens)}",
    ]
    command += [
        "trainer.max_epochs=null",
        "val_interval=1000000000",
        "save_interval=500",
        "callbacks.sample_titles=null",
    ]
    command += [] if run.seed is None else [f"seed={run.seed}"]
    command += [f"hydra.run.dir={literal(str(directory.resolve()))}", "ckpt_path=last"]
    threads = max((os.cpu_count() or 1) // study.jobs, 1)
    with Path(f"{directory}.log").open("a", encoding="utf-8") as log:
        ended = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
        )
    if ended.returncode == 0:
        return None
    if ended.returncode == MISTAKE:
        raise UserError(Path(f"{directory}.log").read_text(encoding="utf-8").strip().splitlines()[-1])
    return f"exit status {ended.returncode}"


def _check_same(directory: Path, study: Study, seed: int | None) -> None:
    """Raise a UserError for a finished run of other overrides; what differs from run to run of a grid is left out."""
    recorded = Run(directory).record["config"]
    written = OmegaConf.to_container(study.config, resolve=False)
    now = dict(leaves(resolved(written, recorded)))
    of_a_run = (*OF_A_RUN, *(() if seed is None else SEEDED))
    for key, value in leaves(recorded):
        own = is_own(key) or key.startswith(of_a_run) or value == HIDDEN
        if key in now and not own and not same_value(value, now[key]):
            raise BadValue("folder", directory, f"was trained with {key}={value}, not {now[key]}; name another folder")


def status(directory: Path) -> str | None:
    """How far the run in a directory is; UserError for a directory that holds something else."""
    run = Run(directory)
    record = run.record
    if record is None and directory.exists() and any(directory.iterdir()) and not run.lock_file.exists():
        raise BadValue("folder", directory, "holds files but no run; name another folder")
    return record and record.get("status")


def summary(directory: Path) -> str:
    """What a finished run came to."""
    record = Run(directory).record
    loss = record["metrics"]["final"]["val/nats_per_char"]
    return f"val/nats_per_char {loss:.4f}, {record['seconds']:.0f} s, {record['tokens_per_second']:,.0f} tokens/s"
