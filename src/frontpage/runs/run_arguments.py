"""What the scripts that reopen a run share: its arguments, its device, and the JSON that they write."""

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from omegaconf import DictConfig

from frontpage.command.errors import UserError, bad_value, local_path, require
from frontpage.command.json_file import strict_json
from frontpage.command.notices import notice
from frontpage.command.output_file import OutputFile, Recognise, check_outputs, json_with
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.reopen import load_run
from frontpage.runs.training_titles import load_training_titles


class Arguments(argparse.ArgumentParser):
    """An argument parser whose mistakes are UserErrors, and which takes `--json FILE` where there is a result.

    `result` are keys of that JSON, or of each object in its list, by which an earlier result is recognised. Files to
    write are checked when the words of the command line are read: before anything is computed.
    """

    def __init__(self, description: str, result: Sequence[str] | None = None) -> None:
        super().__init__(description=description, allow_abbrev=False)
        self._writes = False
        if result is not None:
            self.add_output("--json", json_with(*result), help="write the result there, too")

    def add_output(self, option: str, ours: Recognise, **settings: Any) -> None:
        """Add an option that names a file to write; `ours` recognises what this command wrote there before."""
        if not self._writes:
            replaces = "replace files that this command has not written, and a run's own files"
            self.add_argument("--overwrite", action="store_true", help=replaces)
        self._writes = True
        made = functools.partial(_output_file, option, ours)
        self.add_argument(option, type=made, **{"metavar": "FILE"} | settings)

    def parse_args(self, *given: Any, **settings: Any) -> argparse.Namespace:  # type: ignore[override]
        """As argparse does it, files to write checked."""
        return _checked(super().parse_args(*given, **settings))

    def parse_intermixed_args(self, *given: Any, **settings: Any) -> argparse.Namespace:  # type: ignore[override]
        """As argparse does it, files to write checked."""
        return _checked(super().parse_intermixed_args(*given, **settings))

    def error(self, message: str) -> NoReturn:
        """Instead of the usage in several lines."""
        raise UserError(f"{self.prog}: {message}; --help lists what is allowed")


def _output_file(option: str, ours: Recognise, text: str) -> OutputFile:
    return OutputFile(option, local_path(text, option), ours)


def _checked(arguments: argparse.Namespace) -> argparse.Namespace:
    outputs = [value for value in vars(arguments).values() if isinstance(value, OutputFile)]
    check_outputs(outputs, getattr(arguments, "overwrite", False))
    return arguments


def add_trust(parser: argparse.ArgumentParser) -> None:
    """`--trust RUN`, a list of folders: the runs there may name classes that are none of this package's."""
    told = "call whatever classes this run names (or the runs of this folder): only for runs of your own"
    parser.add_argument("--trust", action="append", default=[], type=_folder, metavar="RUN", help=told)


def _folder(text: str) -> Path:
    require(local_path(text, "--trust").is_dir(), "--trust", text, "a run's directory, or a folder of runs")
    return Path(text)


class RunArguments(Arguments):
    """Arguments that concern a run."""

    def __init__(self, description: str, result: Sequence[str] | None = None) -> None:
        super().__init__(description, result)
        example = "logs/runs/quickstart/2026-01-31_12-00-00-000000"
        self.add_argument("run", help=f"a run's directory, e.g. {example}, or one of its checkpoints")
        self.add_argument("--checkpoint", help="best (the default), last, or the path of a checkpoint")
        add_trust(self)
        self.add_argument("--device", default="auto", help="auto (the default: CUDA, MPS or the CPU), cpu, cuda, mps")


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


def path_for(option: str) -> Callable[[str], Path]:
    """An argument type: a path on this machine; a UserError names the option where it is a URL."""
    return functools.partial(local_path, key=option)


def reopen(arguments: argparse.Namespace) -> tuple[DictConfig, LanguageModule, np.ndarray | None]:
    """(config, module on its device, hashes of its training titles or None); UserError before anything is computed."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = [name for name, present in there.items() if present]
    if arguments.device not in ("auto", *names):
        raise bad_value("--device", arguments.device, f"this machine has: auto {' '.join(names)}")
    device = names[0] if arguments.device == "auto" else arguments.device
    run, checkpoint = arguments.run, arguments.checkpoint = run_and_checkpoint(arguments.run, arguments.checkpoint)
    config, module = load_run(run, checkpoint, arguments.trust)
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


def save_json(output: OutputFile | None, content: Any) -> None:
    """Write `content` as strict JSON where a file was named."""
    if output is not None:
        output.write(strict_json(content))
