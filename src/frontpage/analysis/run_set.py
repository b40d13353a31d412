"""Several runs in one folder, by name, trained where they are missing: each in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from frontpage.command.config_folder import ROOT
from frontpage.command.endings import MISTAKE
from frontpage.command.errors import BadValue, UserError
from frontpage.command.masking import hide_argument
from frontpage.command.override_words import literal
from frontpage.runs.record import headline_of
from frontpage.runs.run import Run

Runs = Mapping[str, Sequence[str]]  # the overrides of each, by its name
PLACES = re.compile(r' paths\.\w+=("[^"]*"|\S*)')


def missing_runs(runs: Runs, folder: Path) -> list[str]:
    """The names of those that are not finished there; UserError for one that was trained by other overrides."""
    missing = []
    for name, overrides in runs.items():
        record = Run(folder / name).record or {}
        if record.get("status") != "finished":
            missing.append(name)
        elif "command" in record and not _trained_by(record["command"], _words(overrides, name)):
            asked = " ".join(map(hide_argument, overrides))
            raise BadValue("folder", folder / name, f"was not trained by {asked}; name another folder, or remove it")
    return missing


def _trained_by(command: str, words: str) -> bool:
    """Whether a record's command has these arguments; those of older records are not quoted for a shell."""
    forms = [command]
    with suppress(ValueError):  # a quote that nothing closes, which a shell would not read either
        forms.append(" ".join(shlex.split(command)))
    return any(f" {words} " in PLACES.sub("", form) for form in forms)


def _words(overrides: Sequence[str], name: str) -> str:
    """The arguments of a run as its record has them, without the places that are a machine's own."""
    return PLACES.sub("", " ".join([*map(hide_argument, overrides), f"name={name}"]))


def train_all(runs: Runs, folder: Path, jobs: int) -> None:
    """Train these, `jobs` at a time; UserError where the mistake was the user's, RuntimeError for other failures.

    After a mistake, which the others may well share, no more are begun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    statuses: dict[str, int] = {}

    def begin(name: str) -> None:
        if MISTAKE not in statuses.values():
            statuses[name] = train(name, runs[name], folder, jobs)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(begin, runs))
    _complain(folder, statuses)


def train(name: str, overrides: Sequence[str], folder: Path, jobs: int) -> int:
    """Train one run in a process of its own, from its last checkpoint if it has one; the exit status.

    It has its share of the cores for threads, unless OMP_NUM_THREADS says how many.
    """
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    command += [f"name={name}", f"hydra.run.dir={literal(str((folder / name).resolve()))}", "ckpt_path=last"]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    record = Run(folder / name).record
    if ended.returncode == 0 and record:
        headline = headline_of(record).name
        value = record["metrics"]["final"][headline]
        print(f"{name}: {headline} {value:.4f}, {record['steps']} updates, {record['seconds']:.0f} s", flush=True)
    return ended.returncode


def _complain(folder: Path, statuses: Mapping[str, int]) -> None:
    """Raise where a run failed: a UserError with its own words where the mistake was the user's."""
    for name, status in sorted(statuses.items(), key=lambda one: one[1] != MISTAKE):
        log = folder / f"{name}.log"
        if status == MISTAKE:
            raise UserError(log.read_text(encoding="utf-8").strip().splitlines()[-1])
        if status:
            raise RuntimeError(f"{name} ended with status {status}: see {log}; the same command goes on from here")
