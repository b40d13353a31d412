"""Whether a run is one of an experiment's: its stored config against what the experiment composes to today."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.errors import HydraException

from frontpage.command.errors import BadValue
from frontpage.command.leaves import leaves
from frontpage.command.masking import HIDDEN
from frontpage.command.override_words import word
from frontpage.sweeps.promotion import composed, resolved, same_value
from frontpage.sweeps.study import FREE

# What may differ between runs of one experiment: which machine, what is watched, where files lie.
OWN = (*FREE, "data.path", "data.test_path", "data.cache_dir", "test", "trainer.max_time", "save_interval")
FILES = ("path", "test_path")  # of data


class Recipe(NamedTuple):
    """What the runs of a record have in common: an experiment, and what the record changes of it."""

    experiment: str
    overrides: tuple[str, ...] = ()

    def words(self, seed: int) -> list[str]:
        """What makes a run of it, but for its titles."""
        return [f"experiment={word(self.experiment)}", *self.overrides, f"seed={seed}"]

    @property
    def processes(self) -> int:
        """How many devices its runs take, each of which adds rows to an update: one where no override says more."""
        asked = [word.partition("=")[2] for word in self.overrides if word.startswith("trainer.devices=")]
        return int(asked[-1]) if asked and asked[-1].isdecimal() else 1

    def __str__(self) -> str:
        return shlex.join(self.words(0)[:-1])


def differences(
    recipe: Recipe, recorded: Mapping[str, Any], folders: Sequence[Path | str] = ()
) -> dict[str, tuple[Any, Any]]:
    """{key: (recorded, composed today)} of the keys in which a run's config is not the recipe's with its seed.

    `recorded` is the `config` of its run.json; keys that are new since then are no difference. `folders` hold more
    configs. UserError where it cannot be composed.
    """
    try:
        written, _ = composed(recipe.words(recorded["seed"]), *folders)
    except HydraException as error:
        raise BadValue("experiment", recipe.experiment, f"cannot be composed ({str(error).splitlines()[0]})") from error
    now = dict(leaves(resolved(written, recorded)))
    before = {key: value for key, value in leaves(recorded) if key.split(".")[0] in written}
    return {
        key: (value, now.get(key))
        for key, value in before.items()
        if value != HIDDEN and not is_own(key) and not same_value(value, now.get(key))
    }


TEACHER = "teacher"  # the key of runs that one learns from, in any technique


def is_own(key: str) -> bool:
    """Whether a key is of one run and its machine rather than of the experiment."""
    return any(f"{key}.".startswith(f"{one}.") for one in OWN)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the paths of its machine: of a file of titles, and of a teacher, the name alone is left."""
    places = [str(one) for one in (config.get("paths") or {}).values() if one]

    def kept(node: Mapping[str, Any]) -> dict[str, Any]:
        """Of one level."""
        found = {key: kept(value) if isinstance(value, Mapping) else value for key, value in node.items()}
        if isinstance(found.get(TEACHER), str):  # which tells a student, wherever its teacher lay
            found[TEACHER] = Path(found[TEACHER]).name
        return {key: value for key, value in found.items() if not _is_place(value, places)}

    found = kept({key: value for key, value in config.items() if key != "paths"})
    for name in FILES:
        if config["data"].get(name):
            found["data"][name] = Path(config["data"][name]).name
    return found


def _is_place(value: Any, places: Sequence[str]) -> bool:
    return isinstance(value, str) and (Path(value).is_absolute() or value.startswith(tuple(places)))
