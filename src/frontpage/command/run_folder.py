"""RunFolder: what is looked at before Hydra makes the folder of a run, and put back where nothing came of it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from frontpage.command.endings import TaskError
from frontpage.command.errors import BadValue, UserError, is_text, local_path

LONGEST = 200  # bytes of a name: file systems take 255, and a study adds to it
BUILT = ("data", "tokenizer", "model", "optimizer", "scheduler", "trainer")
ROOT = ("name", "seed", "objective", "ckpt_path", "init_from", "test", "log_interval", "val_interval", "save_interval")
NEEDED = (
    *ROOT,
    *(f"{node}._target_" for node in BUILT),
    *("callbacks", "logger", "paths.log_dir", "paths.cache_dir", "paths.run_dir"),
    *("trainer.devices", "trainer.strategy", "tokenizer.vocab_size"),
)
_hydras: set[str] = set()  # names of what Hydra itself has written into the folder of this process's run


class RunFolder(Callback):
    """Refuses a config that lacks a key, a name and a folder that cannot be, while nothing has been made yet.

    Behind the run it removes the folders that were not there before and are still empty.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._new: list[Path] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config and at the place."""
        _carried(self._prepare, config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the name, which is that of the study and its folder."""
        _carried(check_name, config)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave no empty folder behind."""
        if self._path is None or not self._path.is_dir():
            return
        if {entry.name for entry in self._path.iterdir()} <= _hydras:
            for name in _hydras:
                shutil.rmtree(self._path / name, ignore_errors=True)
                (self._path / name).unlink(missing_ok=True)
        for folder in self._new:
            try:
                folder.rmdir()
            except OSError:  # something lies in it
                return

    def _prepare(self, config: DictConfig) -> None:
        check_complete(config)
        check_name(config)
        expand_homes(config)
        for override in OmegaConf.to_container(config.hydra.overrides.task, resolve=False):
            key, _, value = override.lstrip("+").partition("=")
            if key == "paths.run_dir":
                raise BadValue(key, value, "the run's own folder; hydra.run.dir=... names another")
        given = str(config.hydra.run.dir)
        self._path = path = local_path(given, "hydra.run.dir").absolute()
        if not is_text(str(path)):
            raise BadValue("hydra.run.dir", path, "its name, or a folder's above it, holds bytes that are not UTF-8")
        self._new = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
        written = {str(config.hydra.output_subdir), f"{config.hydra.job.name}.log"}
        _hydras.clear()
        _hydras.update(name for name in written if not os.path.exists(path / name))


def hydras_own() -> set[str]:
    """Names in the run's folder that Hydra has just written there (`hydra.output_subdir`, its log)."""
    return _hydras


def check_complete(config: DictConfig) -> None:
    """Raise a UserError for a key or group that every run needs and that the config lacks, e.g. after `~name`."""
    for key in NEEDED:
        node: Any = config
        for part in key.split("."):
            if not OmegaConf.is_dict(node) or part not in node.keys():
                instead = f"; {key}=none for nothing" if key in ("callbacks", "logger") else ""
                raise UserError(
                    f"{key}: every run needs it, and it was taken away (by ~, or a group that is []){instead}"
                )
            node = node._get_node(part)


def check_name(config: DictConfig) -> None:
    """Raise a UserError for a `name` that cannot be that of a folder below `logs/`."""
    name = config.get("name")
    if not isinstance(name, str):
        return  # its type is refused with those of all others
    fits = name not in ("", ".", "..") and "/" not in name and name.isprintable() and name == name.strip()
    allowed = f"text, the name of a folder: not empty, no /, no control character, at most {LONGEST} bytes, not . or .."
    if not fits or len(name.encode()) > LONGEST:
        raise BadValue("name", name, allowed)


def expand_homes(config: DictConfig) -> None:
    """Write the home folder for the `~` of every value that begins with `~/`, as a shell does."""
    for node, key in list(_texts(config)):
        value = node._get_node(key)._value()
        if value.startswith("~/"):
            OmegaConf.update(node, str(key), os.path.expanduser(value), force_add=True)


def _texts(node: DictConfig) -> Iterator[tuple[DictConfig, Any]]:
    """(node, key) of each text in nested nodes that is written there and not taken over from another key."""
    for key in node.keys():
        one = node._get_node(key)
        if OmegaConf.is_dict(one) and not one._is_none() and not one._is_interpolation() and not one._is_missing():
            yield from _texts(one)
        elif not OmegaConf.is_config(one) and isinstance(one._value(), str):
            yield node, key


def _carried(check: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Take a mistake past Hydra, which would make a warning of it."""
    try:
        check(config)
    except Exception as error:
        raise TaskError from error
