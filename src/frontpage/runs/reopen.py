"""Reopening runs: `load_run(directory)` needs nothing but the directory."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from frontpage.command.allowed_targets import check_stored
from frontpage.command.build import build_stored
from frontpage.command.errors import BadValue, nearest
from frontpage.command.notices import notice
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.runs.checkpoint import Checkpoint, open_checkpoint, weights_for
from frontpage.runs.provenance import differences, load_tokenizer, provenance_in, said, same_tokenizer
from frontpage.runs.quantised_folder import is_quantised, load_quantised
from frontpage.runs.record import fingerprints_of
from frontpage.runs.run import Run, run_around
from frontpage.runs.stored_config import stored_config
from frontpage.runs.stored_values import check_model


def load_run(
    directory: Path | str, checkpoint: str = "best", trusted: Iterable[Path | str] = (), as_trained: bool = False
) -> tuple[DictConfig, LanguageModule]:
    """(config, module) of a run; `module(tokens)` maps (B, T), each row one document, to logits (B, T, V).

    `checkpoint` is `best`, `last` or a path. A run that names a class of its own is refused, unless it is among the
    folders `trusted`, or lies in one: whatever it names is called. The module is in evaluation mode on the CPU and has
    a `tokenizer`. `directory` may be an export of `--format quantised`. A run whose `precision` rounds weights for each
    product gives rounded ones, or, `as_trained`, those that its updates changed.
    Raises UserError for a folder that is no run, and for a checkpoint that is missing, unreadable or another run's.
    """
    run = Run(Path(directory))
    check_is_run(run)
    if is_quantised(run.path):
        return load_quantised(run.path, trusted)
    config = stored_config(run)
    opened = open_checkpoint(_checkpoint_of(run, checkpoint), "checkpoint")
    tokenizer = load_tokenizer(run.tokenizer_file, "run")
    check_stored(config.model, "model", run.path, trusted)  # first: whose they are is asked of what is no stranger's
    check_model(config, run.config_file)
    _check_belongs(opened, run, config, tokenizer)
    _check_layers(opened, run, config)

    def module() -> LanguageModule:
        return build_stored(config.model, "model", run.path, trusted, vocab_size=tokenizer.vocab_size)

    with torch.device("meta"):  # without numbers: a net of a wrong size could take all memory
        weights = weights_for(module(), opened)
    built = module()
    built.load_state_dict(weights)
    if config.get("precision") is not None and not as_trained:
        stored_mode(config, run, trusted).reopened(built.net)
    built.tokenizer = tokenizer
    return config, built.eval()


def reopened(directory: Path | str) -> LanguageModule:
    """The module of a run, for another run that asks it; what that one draws at random stays the same."""
    with torch.random.fork_rng(devices=[]):
        return load_run(directory)[1]


def stored_mode(config: DictConfig, run: Run, trusted: Iterable[Path | str] = ()) -> PrecisionMode:
    """The precision mode that a run has stored; UserError for one that is none of configs/."""
    check_stored(config.precision, "precision", run.path, trusted)
    return build_stored(config.precision, "precision", run.path, trusted)


def check_is_run(run: Run) -> None:
    """Raise a UserError unless a run can be reopened; it names a run that may have been meant."""
    if run.can_be_reopened:
        return
    directory = run.path
    if not directory.is_dir():
        if directory.exists():
            raise BadValue("run", directory, "a file, not a run's directory")
        lost = next(path for path in (*reversed(directory.parents), directory) if not path.exists())
        beside = [entry.name for entry in lost.parent.iterdir()] if lost.parent.is_dir() else []
        raise BadValue("run", directory, f"not a run's directory: there is no {lost}{nearest(lost.name, beside)}")
    # logs/ holds runs/<name>/<time>; deeper than that is not searched, so that `/` is answered at once as well.
    found = [path for depth in range(1, 4) for path in directory.glob("*/" * depth + run.record_file.name)]
    if found:
        newest = max(found, key=lambda path: path.stat().st_mtime).parent
        raise BadValue("run", directory, f"a folder of {len(found)} runs; name one of them, the newest is {newest}")
    lacking = next(path.name for path in (run.config_file, run.tokenizer_file) if not path.is_file())
    raise BadValue("run", directory, f"not a run's directory (it has no {lacking})")


def _checkpoint_of(run: Run, checkpoint: str) -> Path:
    """The file of a checkpoint, named or given by its path; a UserError says which the run has."""
    path = {"best": run.best, "last": run.last}.get(str(checkpoint), Path(checkpoint))
    if not path.exists():
        names = sorted(other.stem for other in run.checkpoints.glob("*.ckpt"))
        status = (run.record or {}).get("status", "unknown")
        there = f"this run has: {' '.join(names)}" if names else f"this run has none (its status: {status})"
        raise BadValue("checkpoint", path, f"no such checkpoint; {there}")
    return path


def _check_layers(checkpoint: Checkpoint, run: Run, config: DictConfig) -> None:
    """Raise a UserError where a net of more blocks than a checkpoint has would be built: of millions it takes hours."""
    names = (re.search(r"(?:^|\.)blocks\.(\d+)\.", str(name)) for name in checkpoint.content["state_dict"])
    blocks, layers = {found[1] for found in names if found}, config.model.get("n_layer")
    if blocks and isinstance(layers, int) and layers > len(blocks):
        raise checkpoint.mistake(f"has {len(blocks)} blocks, and {run.config_file} says model.n_layer={layers}")


def _check_belongs(checkpoint: Checkpoint, run: Run, config: DictConfig, tokenizer: TitleTokenizer) -> None:
    """Raise a UserError where a checkpoint is not of a run; a notice where it does not say."""
    home = run_around(checkpoint.path.resolve())
    elsewhere = home.path != run.path.resolve()
    if elsewhere and home.config_file.is_file():
        raise checkpoint.mistake(f"belongs to another run than {run.path}; name {home.path} as the run")
    found = provenance_in(checkpoint)
    if found is None:
        if elsewhere:
            notice(f"{checkpoint.path} does not say which run it is of; its weights are read as those of {run.path}")
        return
    problem = f"its weights are not of the run in {run.path}"
    if not same_tokenizer(found, tokenizer):
        raise checkpoint.mistake(f"{problem}: they belong to another tokenizer")
    changed = differences(found.model, OmegaConf.to_container(config.model, resolve=False))
    if changed:
        raise checkpoint.mistake(f"{problem}: config.yaml there has {said(changed)}")
    titles = fingerprints_of(run.record)
    if titles and found.titles not in titles:
        raise checkpoint.mistake(f"{problem}: they were trained on other titles")
