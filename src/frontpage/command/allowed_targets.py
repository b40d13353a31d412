"""Which classes and functions a config may name as `_target_`: those that config files name, and no others.

A config that is composed here may name what a file in its folders of configs names, and any class of this package. What
a run has stored is another's word: at each place that is built from it stands what `configs/` offers for that place,
unless the user trusts the run (`--trust RUN`), since a class that is called may do anything.
"""

import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.moved_targets import moved

TARGET = re.compile(r"""_target_["']?\s*:\s*["']?([\w.]+)""")
# The places of a stored config that are built again, and the groups of configs/ that say what may stand there.
PLACES = {
    "model": "model",
    "model.attention": "model/attention",
    "model.optimizer": "optimizer",
    "model.scheduler": "scheduler",
    "precision": "precision",
    "data": "data",
    "data.tokenizer": "tokenizer",
}
PLACES_OF_ANY_NAME = {  # below these
    "model.tasks": "tasks",
    "data.tasks": "tasks",
    "model.addition": "model/addition",
    "model.technique": "model/technique",
}
KNOWN = ("frontpage.", "torch.", "lightning.", "optuna.")  # a class from elsewhere is the user's own


def check_stored(
    config: Mapping[str, Any], key: str, run: Path | str, trusted: Iterable[Path | str] = ()
) -> tuple[str, ...]:
    """The targets below `key` of a config that `run` has stored; UserError for one that it may not name there.

    A run that is among the folders `trusted`, or lies in one of them, may name anything.
    """
    found = list(targets_in(config, key))
    if not _is_trusted(Path(run), trusted):
        for place, target in found:
            group = PLACES.get(place) or PLACES_OF_ANY_NAME.get(place.rpartition(".")[0])
            offered = _offered(group) if group else ()
            if target not in offered:
                there = f"it may name there: {' '.join(offered)}" if offered else "it may name no class there"
                raise UserError(
                    f"{place}._target_={target}: {run} is not trusted to name it; {there}\n"
                    f"--trust {run} calls whatever the run names: only for runs of your own"
                )
    return tuple(str(target) for _, target in found)


def check_recorded(config: Mapping[str, Any], run: Path | str, trusted: Iterable[Path | str] = ()) -> None:
    """Raise a UserError for a target in parts of a config that `run` has stored, unless configs/ name it."""
    known = [name for name in _named(Path(CONFIGS)) if name.startswith(KNOWN)]
    for place, target in targets_in(config, ""):
        if target not in known and not _is_trusted(Path(run), trusted):
            raise UserError(
                f"{place}._target_={target}: configs/ name no such class, and {run} is not trusted (--trust)"
            )


def check_composed(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The targets below `key` of a config composed here; UserError for one that no config file in use names."""
    found = list(targets_in(config, key))
    for place, target in found:
        check_target(target, place)
    return tuple(target for _, target in found)


def check_target(target: Any, key: str) -> None:
    """Raise a UserError unless a config file in use names `target`, or this package has a class of that name."""
    known = sorted(named_targets())
    if target not in known and not _own_class(target):
        now = moved(str(target))
        if now != target:
            raise BadValue(f"{key}._target_", target, f"is now {now} (docs/migration.md)")
        raise BadValue(
            f"{key}._target_",
            target,
            "no such class of this package (frontpage.*), and named by no config file in use"
            f"{nearest(str(target), known)}",
            "name your own in a file of a folder that --config-dir=FOLDER adds",
        )


def targets_in(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """(place, target) of every `_target_` in a config at `place`, nested mappings and lists included, resolved."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node["_target_"]
        for key, value in node.items():
            yield from targets_in(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from targets_in(value, f"{place}.{index}")


def named_targets() -> set[str]:
    """What the config files in use name: those of configs/, and of the folders that the command line adds to them."""
    folders = {Path(CONFIGS)}
    if HydraConfig.initialized():
        for source in HydraConfig.get().runtime.config_sources:
            if source.schema == "file":
                folders.add(Path(source.path))
            elif source.schema == "pkg" and source.provider != "hydra":
                package = importlib.util.find_spec(source.path)
                folders.update(map(Path, package.submodule_search_locations or ()) if package else ())
    return set().union(*map(_named, folders))


@cache
def _named(folder: Path) -> frozenset[str]:
    return frozenset(
        name for path in folder.rglob("*.yaml") for name in TARGET.findall(path.read_text("utf-8", "replace"))
    )


@cache
def _offered(group: str) -> tuple[str, ...]:
    files = sorted(Path(CONFIGS, group).glob("*.yaml"))
    names = (name for path in files for name in TARGET.findall(path.read_text("utf-8", "replace")))
    return tuple(dict.fromkeys(name for name in names if name.startswith(KNOWN)))


def _is_trusted(run: Path, trusted: Iterable[Path | str]) -> bool:
    folders = {Path(one).resolve() for one in trusted}
    return not folders.isdisjoint((run.resolve(), *run.resolve().parents))


def _own_class(target: Any) -> bool:
    """Whether `target` is a class of this package under the module that defines it, and none that it has imported."""
    module, _, name = str(target).rpartition(".")
    if not module.startswith("frontpage."):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):
            raise  # the module is there and lacks another
        return False
    return isinstance(found, type) and (found.__module__, found.__qualname__) == (module, name)
