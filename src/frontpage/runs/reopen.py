"""Reopening runs: `load_run(directory)` needs nothing but the directory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from omegaconf import DictConfig, OmegaConf

from frontpage.command.allowed_targets import check_stored
from frontpage.command.build import build_stored
from frontpage.command.disk_full import replacing
from frontpage.command.errors import bad_value, local_path, nearest
from frontpage.command.masking import mask
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.checkpoints import load_checkpoint, weights_for
from frontpage.runs.directory import read_record, told
from frontpage.runs.provenance import differences, load_tokenizer, provenance_in, said, same_tokenizer
from frontpage.runs.stored_config import stored_config
from frontpage.runs.training_titles import load_training_titles, save_training_titles


def save_run_config(directory: Path, config: DictConfig, data: RunData, checkpoint: Path | None) -> None:
    """Write what makes a run readable later: its config (resolved, secrets masked), its tokenizer, its training titles.

    The titles are kept as hashes, with those of the run that `checkpoint` or `init_from` was taken from.
    """
    with replacing(directory / "config.yaml") as partial:
        OmegaConf.save(OmegaConf.create(masked(config)), partial)
    data.tokenizer.save(directory / "tokenizer.json")
    origin = checkpoint or (weights_of(config.init_from, "init_from") if config.init_from else None)
    earlier = _titles_behind(origin) if origin else None
    if origin and earlier is None:
        notice(f"the training titles behind {origin} are not known: what this run calls seen leaves them out")
    save_training_titles(directory, data.training_texts(), earlier)


def _titles_behind(checkpoint: Path) -> np.ndarray | None:
    """Hashes of the titles that a checkpoint's weights have seen; None where the folder around it is another run's."""
    directory = checkpoint.absolute().parent.parent
    found = provenance_in(load_checkpoint(checkpoint, "checkpoint"), checkpoint, "checkpoint")
    titles = told(read_record(directory), "data", "fingerprint")
    own = found is None or titles is None or found.titles == titles
    return load_training_titles(directory) if own else None


def masked(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain types; known secrets, and the value of every key that names one, are `***`."""
    return mask(OmegaConf.to_container(config, resolve=True))


def load_run(
    directory: Path | str, checkpoint: str = "best", trusted: Iterable[Path | str] = ()
) -> tuple[DictConfig, LanguageModule]:
    """(config, module) of a run; `module(tokens)` maps (B, T), each row one document, to logits (B, T, V).

    `checkpoint` is `best`, `last` or a path. A run that names a class of its own is refused, unless it is among the
    folders `trusted`, or lies in one: whatever it names is called. The module is in evaluation mode on the CPU and has
    a `tokenizer`.
    Raises UserError for a folder that is no run, and for a checkpoint that is missing, unreadable or another run's.
    """
    directory = Path(directory)
    check_is_run(directory)
    config = stored_config(directory)
    path = _checkpoint_of(directory, checkpoint)
    tokenizer = load_tokenizer(directory / "tokenizer.json", "run")
    content = load_checkpoint(path, "checkpoint")
    check_stored(config.model, "model", directory, trusted)  # first: whose they are is asked of what is no stranger's
    _check_belongs(content, path, directory, config, tokenizer)
    module = build_stored(config.model, "model", directory, trusted, vocab_size=tokenizer.vocab_size)
    load_weights(module, path, "checkpoint", content)
    module.tokenizer = tokenizer
    return config, module.eval()


def check_is_run(directory: Path) -> None:
    """Raise a UserError unless a run can be reopened from `directory`; it names a run that may have been meant."""
    lacking = [name for name in ("config.yaml", "tokenizer.json") if not (directory / name).is_file()]
    if not lacking:
        return
    if not directory.is_dir():
        if directory.exists():
            raise bad_value("run", directory, "a file, not a run's directory")
        lost = next(path for path in (*reversed(directory.parents), directory) if not path.exists())
        beside = [entry.name for entry in lost.parent.iterdir()] if lost.parent.is_dir() else []
        raise bad_value("run", directory, f"not a run's directory: there is no {lost}{nearest(lost.name, beside)}")
    # logs/ holds runs/<name>/<time>; deeper than that is not searched, so that `/` is answered at once as well.
    found = [path for depth in range(1, 4) for path in directory.glob("*/" * depth + "run.json")]
    if found:
        newest = max(found, key=lambda path: path.stat().st_mtime).parent
        raise bad_value("run", directory, f"a folder of {len(found)} runs; name one of them, the newest is {newest}")
    raise bad_value("run", directory, f"not a run's directory (it has no {lacking[0]})")


def _checkpoint_of(directory: Path, checkpoint: str) -> Path:
    """The file of a checkpoint, named or given by its path; a UserError says which the run has."""
    path = directory / "checkpoints" / f"{checkpoint}.ckpt" if checkpoint in ("best", "last") else Path(checkpoint)
    if not path.exists():
        names = sorted(other.stem for other in (directory / "checkpoints").glob("*.ckpt"))
        status = (read_record(directory) or {}).get("status", "unknown")
        there = f"this run has: {' '.join(names)}" if names else f"this run has none (its status: {status})"
        raise bad_value("checkpoint", path, f"no such checkpoint; {there}")
    return path


def _check_belongs(
    content: dict[str, Any], path: Path, directory: Path, config: DictConfig, tokenizer: TitleTokenizer
) -> None:
    """Raise a UserError where a checkpoint is not of the run in `directory`; a notice where it does not say."""
    home = path.resolve().parent.parent
    if home != directory.resolve() and (home / "config.yaml").is_file():
        raise bad_value("checkpoint", path, f"belongs to another run than {directory}; name {home} as the run")
    found = provenance_in(content, path, "checkpoint")
    if found is None:
        if home != directory.resolve():
            notice(f"{path} does not say which run it is of; its weights are read as those of {directory}")
        return
    problem = f"its weights are not of the run in {directory}"
    if not same_tokenizer(found, tokenizer):
        raise bad_value("checkpoint", path, f"{problem}: they belong to another tokenizer")
    changed = differences(found.model, OmegaConf.to_container(config.model, resolve=False))
    if changed:
        raise bad_value("checkpoint", path, f"{problem}: config.yaml there has {said(changed)}")
    titles = (read_record(directory) or {}).get("data", {}).get("fingerprint")
    if titles is not None and titles != found.titles:
        raise bad_value("checkpoint", path, f"{problem}: they were trained on other titles")


def load_weights(module: L.LightningModule, path: Path, key: str, content: dict[str, Any] | None = None) -> None:
    """Load a checkpoint's weights, nothing else; a UserError lists the weights that do not fit."""
    module.load_state_dict(weights_for(module, path, key, content))


def weights_of(run: str, key: str) -> Path:
    """The best checkpoint of a run's directory, or the path itself where it is a file."""
    path = local_path(run, key)
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise bad_value(key, run, "neither a run's directory with a best checkpoint nor a checkpoint")
    return path
