"""Every place that a run's config says it will write to, tried before anything is computed."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from frontpage.command.errors import BadValue, local_path
from frontpage.command.process_family import is_helper
from frontpage.runs.checkpoint_file import numbered_beside
from frontpage.runs.open_run import CurrentRun
from frontpage.runs.record import told
from frontpage.runs.run import MARKS
from frontpage.runs.stored_config import IN_CHECKPOINT, stored_config

FOLDERS = ("dirpath", "directory", "default_root_dir", "cache_dir")  # keys that name a folder
FILES = ("path",)  # of callbacks and loggers: keys that name a file


class Place(NamedTuple):
    """A key, the path that it gives, and whether that is a folder's."""

    key: str
    path: str
    folder: bool


def check_places(config: DictConfig, run: CurrentRun) -> None:
    """Raise a UserError for a place that cannot be written, is another run's, or where files of others would be lost.

    A run that is continued may go on with files where it wrote before. Nothing is left behind. The helper processes of
    a run leave it to the first.
    """
    if is_helper():
        return
    own, before = run.path.absolute(), _places_before(run)
    for place in _places(config):
        if place.path == "":
            raise BadValue(place.key, place.path, "a path, not empty")
        path = local_path(place.path, place.key)
        _check_path(place, path)
        outside = own not in (path.absolute(), *path.absolute().parents)
        if outside and place.key.startswith(("callbacks.", "logger.")):
            _check_no_runs(place, path, own)
            if path.resolve() not in before:
                _check_unused(place, path)


def _places_before(run: CurrentRun) -> set[Path]:
    """Where the run wrote that the checkpoint is of which it goes on from."""
    if run.checkpoint is None:
        return set()
    config = run.checkpoint.content.get(IN_CHECKPOINT)
    if config is None and run.checkpoint.run.config_file.is_file():  # from before it was kept there
        config = OmegaConf.to_container(stored_config(run.checkpoint.run), resolve=False)
    groups = [told(config, group) for group in ("callbacks", "logger")]
    nodes = [node for group in groups if isinstance(group, dict) for node in group.values()]
    values = [told(node, name) for node in nodes for name in (*FOLDERS, *FILES)]
    return {Path(value).resolve() for value in values if isinstance(value, str)}


def _places(config: DictConfig) -> Iterator[Place]:
    """Those of the config's groups; a path that is another key's is checked there."""
    yield Place("paths.cache_dir", str(config.paths.cache_dir), True)
    groups = {"trainer": config.trainer, **_named(config, "callbacks"), **_named(config, "logger")}
    for key, node in groups.items():
        for name in node:
            if node[name] is not None and (name in FOLDERS or name in FILES):
                yield Place(f"{key}.{name}", str(node[name]), name in FOLDERS)


def _named(config: DictConfig, group: str) -> dict[str, DictConfig]:
    """The nodes of a group, by their keys."""
    nodes = config[group] or {}
    return {f"{group}.{name}": nodes[name] for name in nodes if isinstance(nodes[name], DictConfig)}


def _check_path(place: Place, path: Path) -> None:
    """Make what is missing in a folder of our own and write something there: other runs may begin at this moment."""
    folder = Path(os.path.abspath(path if place.folder else path.parent))
    try:
        if not place.folder and path.exists():
            if not path.is_file():
                raise BadValue(place.key, path, "a folder or a device; the name of a file is needed")
            path.open("ab").close()
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        with tempfile.TemporaryDirectory(prefix=".frontpage_", dir=there) as own:
            Path(own, folder.relative_to(there)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue(place.key, place.path, f"cannot be written ({error.strerror})") from error


def _check_no_runs(place: Place, path: Path, own: Path) -> None:
    """Raise a UserError for a place in the folder of another run, whatever lies there."""
    above = (path.resolve(), *path.resolve().parents)
    other = next((folder for folder in above if any((folder / mark).is_file() for mark in MARKS)), None)
    if other is not None and other != own.resolve():
        raise BadValue(place.key, place.path, f"in the folder of another run, {other}; another place")


def _check_unused(place: Place, path: Path) -> None:
    """Raise a UserError where a run would replace or go on with what is no file of its own."""
    there = [path, *numbered_beside(path)] if not place.folder else [*path.glob("*.ckpt"), *path.glob("metrics.csv")]
    found = next((one for one in there if os.path.lexists(one)), None)
    if found is not None:
        raise BadValue(place.key, place.path, f"there is {found} already, which the run would replace; another place")
