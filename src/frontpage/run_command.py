"""What the scripts that reopen a run share: its arguments, its device, and the JSON that they write."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from omegaconf import DictConfig

from frontpage.callbacks.record_run import write_json
from frontpage.data.training_titles import load_training_titles
from frontpage.errors import UserError, bad_value, local_path, require
from frontpage.models.language_module import LanguageModule
from frontpage.notices import notice
from frontpage.runs import load_run


class Arguments(argparse.ArgumentParser):
    """An argument parser whose mistakes are UserErrors, and which takes `--json FILE` where there is a result."""

    def __init__(self, description: str, json: bool = True) -> None:
        super().__init__(description=description, allow_abbrev=False)
        if json:
            self.add_argument("--json", type=writable("--json"), metavar="FILE", help="write the result there, too")

    def error(self, message: str) -> NoReturn:
        """Instead of the usage in several lines."""
        raise UserError(f"{self.prog}: {message}; --help lists what is allowed")


class RunArguments(Arguments):
    """Arguments that concern a run."""

    def __init__(self, description: str, json: bool = True) -> None:
        super().__init__(description, json)
        example = "logs/runs/quickstart/2026-01-31_12-00-00-000000"
        self.add_argument("run", help=f"a run's directory, e.g. {example}, or one of its checkpoints")
        self.add_argument("--checkpoint", help="best (the default), last, or the path of a checkpoint")
        self.add_argument("--device", default="auto", help="auto (the default: CUDA, MPS or the CPU), cpu, cuda, mps")


def writable(option: str) -> Callable[[str], Path]:
    """The type of `--json` and the like: a file that can be written, which is known before anything is computed."""

    def parse(text: str) -> Path:
        path = local_path(text, option)
        folder = path.resolve().parent
        usable = folder.is_dir() and os.access(folder, os.W_OK) and not path.is_dir()
        require(usable, option, path, "a file in an existing folder that can be written")
        return path

    return parse


def number(kind: type, least: float, most: float = math.inf) -> Callable[[str], Any]:
    """An argument type: a finite number of `kind` (int or float) between `least` and `most`."""
    allowed = f"a {'whole ' if kind is int else ''}number of at least {least}"
    if most < math.inf:
        allowed += f" and at most {most}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}") from error
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
        return value

    return parse


def reopen(arguments: argparse.Namespace) -> tuple[DictConfig, LanguageModule, np.ndarray | None]:
    """(config, module on its device, hashes of its training titles or None); UserError before anything is computed."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = [name for name, present in there.items() if present]
    if arguments.device not in ("auto", *names):
        raise bad_value("--device", arguments.device, f"this machine has: auto {' '.join(names)}")
    device = names[0] if arguments.device == "auto" else arguments.device
    run, checkpoint = arguments.run, arguments.checkpoint = run_and_checkpoint(arguments.run, arguments.checkpoint)
    config, module = load_run(run, checkpoint)
    known = load_training_titles(run)
    if known is None:
        notice(f"{run} does not say which titles it trained on: what was seen in training is unknown")
    print(f"run: {run}, checkpoint {checkpoint}, on {device}", flush=True)
    return config, module.to(device), known


def run_and_checkpoint(run: str, checkpoint: str | None) -> tuple[str, str]:
    """What `load_run` takes: a run's directory and which checkpoint; `run` may name a checkpoint of a run instead."""
    if not local_path(run, "run").is_file():
        return run, checkpoint or "best"
    directory = Path(run).absolute().parent.parent
    require((directory / "config.yaml").is_file(), "run", run, "a file, but no checkpoint in a run's directory")
    require(checkpoint is None, "--checkpoint", checkpoint, f"{run} names a checkpoint already; leave one of them away")
    return str(directory), run


def save_json(path: Path | None, content: Any) -> None:
    """Write `content` as strict JSON where a path was given."""
    try:
        if path is not None:
            write_json(path, content)
    except OSError as error:
        raise bad_value("--json", path, f"cannot be written ({error.strerror})") from error
