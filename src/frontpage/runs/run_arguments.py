"""What the scripts that reopen a run share: its arguments and its device."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from frontpage.command.arguments import Arguments
from frontpage.command.errors import BadValue, local_path
from frontpage.command.notices import notice
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run, run_around
from frontpage.runs.stored_values import check_scoring
from frontpage.runs.training_titles import load_training_titles


def add_trust(parser: argparse.ArgumentParser) -> None:
    """`--trust RUN`, a list of folders: the runs there may name classes that are none of this package's."""
    told = "call whatever classes this run names (or the runs of this folder): only for runs of your own"
    parser.add_argument("--trust", action="append", default=[], type=_folder, metavar="RUN", help=told)


def _folder(text: str) -> Path:
    if not local_path(text, "--trust").is_dir():
        raise BadValue("--trust", text, "a run's directory, or a folder of runs")
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


def reopen(arguments: argparse.Namespace) -> tuple[DictConfig, LanguageModule, np.ndarray | None]:
    """(config, module on its device, hashes of its training titles or None); UserError before anything is computed."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = [name for name, present in there.items() if present]
    if arguments.device not in ("auto", *names):
        raise BadValue("--device", arguments.device, f"this machine has: auto {' '.join(names)}")
    device = names[0] if arguments.device == "auto" else arguments.device
    run, checkpoint = arguments.run, arguments.checkpoint = run_and_checkpoint(arguments.run, arguments.checkpoint)
    config, module = load_run(run, checkpoint, arguments.trust)
    what = f"its {type(module).__name__} is of other tasks than titles, which this command reads and writes"
    if not isinstance(module, LanguageModule):
        raise BadValue("run", run, what)
    check_scoring(config, Run(Path(run)).config_file)
    known = load_training_titles(Run(Path(run)))
    if known is None:
        notice(f"{run} does not say which titles it trained on: what was seen in training is unknown")
    print(f"run: {run}, checkpoint {checkpoint}, on {device}", flush=True)
    return config, module.to(device), known


def run_and_checkpoint(run: str, checkpoint: str | None) -> tuple[str, str]:
    """What `load_run` takes: a run's directory and which checkpoint; `run` may name a checkpoint of a run instead."""
    if checkpoint == "":
        raise BadValue("--checkpoint", checkpoint, "best, last or the path of a checkpoint, not empty")
    if not local_path(run, "run").is_file():
        return run, checkpoint or "best"
    around = run_around(Path(run))
    if not around.config_file.is_file():
        raise BadValue("run", run, "a file, but no checkpoint in a run's directory")
    if checkpoint is not None:
        raise BadValue("--checkpoint", checkpoint, f"{run} names a checkpoint already; leave one of them away")
    return str(around.path), run
