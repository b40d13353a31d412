"""ConfigFile: what a file of configs/ says of its keys, comments included."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

GLOBAL = "# @package _global_"
BUILDS = ("defaults", "_target_", "_partial_", "_convert_")  # what Hydra needs, and nobody tunes


class Entry(NamedTuple):
    """A key as a file has it: its path within the group, its value as it is written, and the comment on its line."""

    path: str
    value: str
    comment: str


@dataclass(frozen=True)
class ConfigFile:
    """An option of a group, `model/attention`; the file of a whole config has the group ``."""

    group: str
    name: str
    text: str

    @property
    def elsewhere(self) -> bool:
        """Whether it sets keys of the whole config, from within a group."""
        return self.text.startswith(GLOBAL)

    @property
    def prefix(self) -> str:
        """What stands before its keys: `model.attention.`, nothing for a file of the whole config."""
        return "" if self.elsewhere or not self.group else self.group.replace("/", ".") + "."

    @property
    def about(self) -> str:
        """Its first comment: what it says before the first blank line or key, without commands."""
        lines = re.match(r"(?:#.*\n)*", self.text)[0].splitlines()
        said = [line[1:].strip() for line in lines if not line.startswith((GLOBAL, "#  "))]
        return " ".join(re.sub(":$", ".", line) for line in said)

    def entries(self) -> Iterator[Entry]:
        """Its keys, in their order."""
        root = yaml.compose(self.text)
        yield from self._below(root, "")

    def targets(self) -> dict[str, str]:
        """The `_target_` of each node by its path; that of the file itself has the path ``."""
        return {path: value for path, value in self._targets(yaml.compose(self.text), "")}

    def based_on(self) -> list[str]:
        """The options of its own group that it starts from."""
        entries = (yaml.safe_load(self.text) or {}).get("defaults", [])
        return [one for one in entries if isinstance(one, str) and one != "_self_"]

    def _below(self, node: yaml.Node, prefix: str) -> Iterator[Entry]:
        for key, value in node.value:
            if key.value in BUILDS:
                continue
            path = f"{prefix}{key.value}"
            if isinstance(value, yaml.MappingNode) and value.value:
                yield from self._below(value, f"{path}.")
            else:
                written = self.text[value.start_mark.index : value.end_mark.index]
                yield Entry(path, written, self._comment_after(value.end_mark.index))

    def _targets(self, node: yaml.Node, path: str) -> Iterator[tuple[str, str]]:
        for key, value in node.value:
            if key.value == "_target_":
                yield path, value.value
            elif isinstance(value, yaml.MappingNode):
                yield from self._targets(value, f"{path}.{key.value}".lstrip("."))

    def _comment_after(self, place: int) -> str:
        found = re.match(r"[ \t]+#[ \t]*(.*)", self.text[place:])
        return found[1].strip() if found else ""


def config_files(configs: Path, without: tuple[str, ...]) -> list[ConfigFile]:
    """All of a folder but those of the groups `without`, by their paths."""
    found = []
    for path in sorted(configs.rglob("*.yaml")):
        group = path.relative_to(configs).parent.as_posix()
        if group.split("/")[0] not in without:
            found.append(ConfigFile("" if group == "." else group, path.stem, path.read_text(encoding="utf-8")))
    return found
