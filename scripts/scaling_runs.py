"""Train the runs of a scaling law: `python scripts/scaling_runs.py logs/scaling data.path=titles.parquet`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from frontpage.command.config_folder import CONFIGS
from frontpage.command.endings import MISTAKE
from frontpage.command.errors import UserError, bad_value, require
from frontpage.data.files import read_titles
from frontpage.runs.directory import read_record
from frontpage.runs.run_arguments import Arguments, number, path_for, save_json
from frontpage.training.preflight import check_config

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = "experiment=scaling_gpt"
HEAD = 32  # numbers a head: wide ones are fast on a CPU
STARTING = 1.5e11  # operations that starting and validating a run are counted as, for the time that is left
SET_HERE = ("model.d_model", "model.n_layer", "model.n_head", "optimizer.lr", "trainer.max_steps", "trainer.max_epochs")


class Planned(NamedTuple):
    """One run of the study."""

    width: int
    layers: int
    tokens: int

    @property
    def name(self) -> str:
        """The run's folder, such as 64x2_500000."""
        return f"{self.width}x{self.layers}_{self.tokens}"

    def flops(self, vocabulary: int) -> float:
        """Operations, about: 6 a token and multiplying parameter."""
        return 6.0 * self.tokens * (12 * self.layers * self.width**2 + vocabulary * self.width) + STARTING


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
    parser.add_argument("--held-out", type=several(held_out), default="192x5:4.5e6", metavar="WIDTHxLAYERS:TOKENS,...")
    parser.add_argument(
        "--jobs", type=number(int, 1, 64), default=os.cpu_count() or 1, help="runs at a time (the cores)"
    )
    arguments = parser.parse_intermixed_args()
    config = composed(arguments.overrides)
    grid = [Planned(*one, int(tokens)) for one in arguments.sizes for tokens in arguments.tokens]
    extra = [Planned(*one) for one in arguments.held_out]
    step = config.data.block_size * config.data.batch_size * config.trainer.accumulate_grad_batches
    for run in [*grid, *extra]:
        require(run.tokens >= step, "--tokens", run.tokens, f"at least the {step:,} of an update")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    trained = train_all(list(dict.fromkeys([*grid, *extra])), arguments, config, step)
    fit = f"python scripts/scaling_law.py {arguments.folder}"
    fit += "".join(f" --hold-out {arguments.folder / run.name}" for run in extra if run not in grid)
    result = {run.name: read_record(arguments.folder / run.name) or {} for run in dict.fromkeys([*grid, *extra])}
    told = {name: {key: record.get(key) for key in ("steps", "seconds", "metrics")} for name, record in result.items()}
    save_json(arguments.json, {"folder": str(arguments.folder), "trained": trained, "runs": told})
    print(f"\nall runs are finished; the fit:\n  {fit} --plot {arguments.folder}/law.png")


def several(one: Callable[[str], object]) -> Callable[[str], list]:
    """An argument type: several of `one`, with commas between them."""
    return lambda text: [one(part) for part in text.split(",") if part]


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


def composed(overrides: list[str]) -> DictConfig:
    """The config that the runs share; UserError for what train.py would refuse, and for what the grid sets."""
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        require(key not in SET_HERE, key, override.partition("=")[2], "is set for each run of the grid; leave it out")
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", EXPERIMENT, *overrides])
    check_config(config)
    if config.data.path is not None:
        read_titles(config.data.path, config.data.column)
    return config


def train_all(runs: list[Planned], arguments: argparse.Namespace, config: DictConfig, step: int) -> list[str]:
    """Train the runs, `jobs` at a time, and name those that were not finished before.

    UserError where the first mistake was the user's, RuntimeError for others.
    """
    missing = [run for run in runs if status(arguments.folder / run.name) != "finished"]
    missing.sort(key=lambda run: run.flops(config.tokenizer.vocab_size), reverse=True)
    print(f"{len(runs)} runs, {len(runs) - len(missing)} finished before, {arguments.jobs} at a time", flush=True)
    left, start = sum(run.flops(config.tokenizer.vocab_size) for run in missing), time.perf_counter()
    done, failed = 0.0, []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = {pool.submit(train_one, run, arguments, config, step): run for run in missing}
        try:
            for place, future in enumerate(as_completed(waiting), start=1):
                run, problem = waiting[future], future.result()
                done, left = (
                    done + run.flops(config.tokenizer.vocab_size),
                    left - run.flops(config.tokenizer.vocab_size),
                )
                minutes = (time.perf_counter() - start) / done * left / 60
                said = problem or summary(arguments.folder / run.name)
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
            f"{failed[0]} failed: see {arguments.folder / failed[0]}.log; the same command goes on from here"
        )
    return [run.name for run in missing]


def train_one(run: Planned, arguments: argparse.Namespace, config: DictConfig, step: int) -> str | None:
    """Train one run in a process of its own, from its last checkpoint if it has one; what went wrong, or None."""
    directory = arguments.folder / run.name
    base = config.model.d_model / run.width  # the experiment's rate is that of its width; wider ones need less
    command = [sys.executable, str(ROOT / "train.py"), EXPERIMENT, *arguments.overrides]
    command += [f"model.d_model={run.width}", f"model.n_layer={run.layers}", f"model.n_head={run.width // HEAD}"]
    command += [f"optimizer.lr={config.optimizer.lr * base**0.5:.4g}", f"trainer.max_steps={round(run.tokens / step)}"]
    command += [
        "trainer.max_epochs=null",
        "val_interval=1000000000",
        "save_interval=500",
        "callbacks.sample_titles=null",
    ]
    command += [f"hydra.run.dir={directory.resolve()}", "ckpt_path=last"]
    threads = max((os.cpu_count() or 1) // arguments.jobs, 1)
    with Path(f"{directory}.log").open("a", encoding="utf-8") as log:
        ended = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
        )
    if ended.returncode == 0:
        return None
    if ended.returncode == MISTAKE:
        raise UserError(Path(f"{directory}.log").read_text(encoding="utf-8").strip().splitlines()[-1])
    return f"exit status {ended.returncode}"


def status(directory: Path) -> str | None:
    """How far the run in a directory is; UserError for a directory that holds something else."""
    record = read_record(directory)
    if record is None and directory.exists() and any(directory.iterdir()) and not (directory / "run.lock").exists():
        raise bad_value("folder", directory, "holds files but no run; name another folder")
    return record and record.get("status")


def summary(directory: Path) -> str:
    """What a finished run came to."""
    record = read_record(directory)
    loss = record["metrics"]["final"]["val/nats_per_char"]
    return f"val/nats_per_char {loss:.4f}, {record['seconds']:.0f} s, {record['tokens_per_second']:,.0f} tokens/s"


if __name__ == "__main__":
    program(main)
