"""Scripts that run in this process, a tiny run for them to reopen, and what a run has left."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny import ROOT, TINY

import frontpage.command.program
import train
from frontpage.runs.reopen import load_run


class Ended(NamedTuple):
    """How a program ended."""

    status: int
    stdout: str
    stderr: str


def run_script(capfd: pytest.CaptureFixture, name: str, *arguments: object) -> Ended:
    """`python scripts/<name>.py arguments`, its output captured."""
    script = str(ROOT / "scripts" / f"{name}.py")
    return ended_by(capfd, lambda: runpy.run_path(script, run_name="__main__"), f"scripts/{name}.py", *arguments)


def ended_by(capfd: pytest.CaptureFixture, start: Callable[[], object], *words: object) -> Ended:
    """How a program ends that `start` starts in this process with the command line `words`; its output captured."""
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*map(str, words)])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        status = 0
        try:
            start()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ended(status, *capfd.readouterr())


def train_tiny(directory: Path, *overrides: str) -> Path:
    """Train the smallest run into `directory` and return it."""
    places = [f"hydra.run.dir={directory}", f"paths.cache_dir={directory.parent}/cache"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *TINY, *places, *overrides])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        frontpage.command.program.program(train.train)
    return directory


def training_titles(directory: Path) -> tuple[list[str], list[str]]:
    """The titles that a run trained on and those that it was validated on, from its own config."""
    from omegaconf import OmegaConf

    from frontpage.command.build import build

    data = build(OmegaConf.load(directory / "config.yaml").data, "data")
    data.setup()
    return data.selection.train, data.selection.validation


def write_csv(path: Path, titles: list[str], column: str = "title") -> Path:
    """A file of titles in the order given."""
    quoted = ('"' + title.replace('"', '""') + '"' for title in [column, *titles])
    path.write_text("\n".join(quoted) + "\n", encoding="utf-8")
    return path


def record_of(directory):
    """run.json, refusing what strict JSON refuses."""

    def refuse(constant):
        raise AssertionError(f"{constant} in run.json")

    return json.loads((directory / "run.json").read_text(), parse_constant=refuse)


def weights_of(directory, checkpoint="last"):
    return load_run(directory, checkpoint)[1].state_dict()
