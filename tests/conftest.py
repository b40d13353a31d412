"""Fixtures: a command line that runs in this process, and real titles where a copy of them lies beside the checkout."""

import gc
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tiny import REAL_TITLES, composed

import frontpage.command.program
from frontpage.command.first_moment import SIGNALS, all_is_imported

gc.disable()  # until all tests are collected
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # for commands that tests start: tiny models only wait for each other's threads
torch.set_num_threads(1)
os.environ["WANDB_MODE"] = "offline"
for _number, _usual in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(_number) == signal.SIG_IGN:  # as nohup or a shell's & ask; programs of tests would inherit it
        signal.signal(_number, _usual)


def pytest_xdist_auto_num_workers(config):
    """`-n auto` of the slow tests: a worker more than cores, since they wait for the processes that they start."""
    if config.option.markexpr == "slow":
        return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_finish(session):
    """Nothing that a module of tests made is garbage."""
    all_is_imported()


@pytest.fixture(autouse=True)
def signals():
    """Programs that run in this process take the signals over, and do not give them back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def config():
    """config("experiment=...", ...) composes what the command line would compose."""
    return composed


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """command("experiment=...", ...) runs train.py in this process, with its logs and caches in tmp_path."""
    import train

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(
            sys,
            "argv",
            ["train.py", f"paths.log_dir={tmp_path}/logs", f"paths.cache_dir={tmp_path}/cache", *arguments],
        )
        monkeypatch.delenv("FRONTPAGE_RUN_DIRECTORY", raising=False)
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        status = 0
        try:
            frontpage.command.program.program(train.train)
        except SystemExit as ended:
            status = ended.code
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def run_directories(tmp_path):
    """run_directories() lists the directories of runs that the command made, oldest first."""
    return lambda: sorted(path for path in (tmp_path / "logs").glob("runs/*/*") if path.is_dir())


@pytest.fixture
def real_titles() -> Path:
    """The file of real titles; the test is skipped where there is none."""
    if not REAL_TITLES.exists():
        pytest.skip(f"no real titles at {REAL_TITLES}")
    return REAL_TITLES
