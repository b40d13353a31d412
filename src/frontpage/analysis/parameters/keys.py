"""The keys of all config files: what each option gives them, says of them, and which values they may have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import yaml

from frontpage.analysis.parameters.config_file import ConfigFile
from frontpage.command.check import allowed, parameters
from frontpage.recipe.optimizers.settings import TORCH_OPTIMIZERS
from frontpage.sweeps.settings import Settings
from frontpage.training.root_keys import ROOT_KEYS

SWEEPER = "frontpage.sweeps.sweeper.StudySweeper"  # which hands its keys on to Settings
SEARCH = get_type_hints(Settings, include_extras=True)
BORROWED = {"torch.optim.": TORCH_OPTIMIZERS}


@dataclass
class Key:
    """A key with its values, comments and allowed values, by the options that set it; those of the default first."""

    path: str
    group: str
    values: dict[str, str] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    allowed: dict[str, str] = field(default_factory=dict)


def keys_of(files: Iterable[ConfigFile]) -> list[Key]:
    """Every key, in the order of the groups and of their files.

    A file that sets keys of the whole config adds those that no group has.
    """
    files = [*files]
    chosen, order = chosen_options(files), group_order(files)
    found: dict[str, Key] = {}

    def rank(file: ConfigFile) -> tuple[Any, ...]:
        other = chosen.get(file.group) != file.name
        return file.elsewhere, order.index(file.group), other, not file.targets(), file.name

    for file in sorted(files, key=rank):
        kinds = _kinds(file, files)
        for path, value, comment in file.entries():
            key = found.setdefault(file.prefix + path, Key(file.prefix + path, file.group))
            if file.elsewhere and key.group != file.group:
                continue
            key.values[file.name], key.comments[file.name] = value, comment
            key.allowed[file.name] = kinds.get(path, "")
    return sorted(found.values(), key=lambda key: order.index(key.group))


def chosen_options(files: Iterable[ConfigFile]) -> dict[str, str]:
    """The option of each group that a config takes where none is chosen, from the `defaults` of all files."""
    chosen: dict[str, str] = {}
    for file in files:
        for one in (yaml.safe_load(file.text) or {}).get("defaults", []):
            for name, option in one.items() if isinstance(one, Mapping) else ():
                plain = not name.startswith("override ")
                if plain and option is not None:
                    chosen.setdefault("/".join(filter(None, (file.group, name))), option)
    return chosen


def group_order(files: Iterable[ConfigFile]) -> list[str]:
    """The groups as the whole config names them, each before those within it; then the others."""
    files = [*files]
    whole = next(file for file in files if not file.group)
    named = [name for one in yaml.safe_load(whole.text)["defaults"] if isinstance(one, dict) for name in one]
    found = dict.fromkeys(["", *named])
    rest = dict.fromkeys(file.group for file in files)
    top = [*found, *(group for group in rest if group.split("/")[0] not in found)]
    return [
        inner for group in top for inner in (group, *(one for one in rest if group and one.startswith(f"{group}/")))
    ]


def _kinds(file: ConfigFile, files: list[ConfigFile]) -> dict[str, str]:
    """The allowed values of a file's keys in words, by their paths; those that no signature names are left out."""
    if not file.group:
        return {name: _in_words(kind) for name, kind in ROOT_KEYS.items()}
    found: dict[str, str] = {}
    for node, target in _all_targets(file, files).items():
        kinds = SEARCH if target == SWEEPER else parameters(target, file.group, BORROWED)
        for name, kind in kinds.items():
            found[f"{node}.{name}".lstrip(".")] = _in_words(kind)
    return found


def _in_words(kind: Any) -> str:
    """What may stand there; nothing for what is built from a node, or may be anything."""
    words = allowed(kind)
    return "" if words.startswith("a node") else words


def _all_targets(file: ConfigFile, files: list[ConfigFile]) -> dict[str, str]:
    """The targets of a file's nodes, those of the options that it starts from included."""
    same = {one.name: one for one in files if one.group == file.group}
    found: dict[str, str] = {}
    for base in file.based_on():
        found |= _all_targets(same[base], files) if base in same else {}
    return found | file.targets()
