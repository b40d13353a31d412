"""The study: made once, continued by the same command, and not mixed with another search."""

import shlex
import sys
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import distribution_to_json

from frontpage.command.errors import BadValue, UserError
from frontpage.command.masking import hide_argument, mask
from frontpage.command.moved_targets import moved
from frontpage.command.objective import objectives
from frontpage.runs.git_state import git_state
from frontpage.sweeps.settings import Settings
from frontpage.sweeps.space import SearchSpace, read_space
from frontpage.sweeps.storage import open_storage
from frontpage.training.followed import check_directions

# What may differ between the commands that share a study: where files go, what is watched, which device.
FREE = (
    "paths",
    "logger",
    "launcher",
    "log_interval",
    "ckpt_path",
    "name",
    "callbacks.progress",
    "callbacks.sample_titles",
)
FREE += (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.log_interval",
    "trainer.default_root_dir",
    "trainer.profiler",
)
LISTED = 3  # differences that are named
MISSING = "as it was"  # of a key that nothing sets


def open_study(settings: Settings, space: SearchSpace, config: DictConfig) -> optuna.Study:
    """The study of `hydra.sweeper.study_name`, made if it is new; UserError where it belongs to another search.

    To be called within a turn. An old study is not changed, but for one whose maker died before it had said all of it:
    it has no trial yet, and what it lacks is added.
    """
    names = objectives(config.objective) if "objective" in config else ["objective"]
    directions = settings.directions if len(settings.directions) > 1 else settings.directions * len(names)
    if "objective" not in config and len(directions) > 1:
        names = [f"objective_{place}" for place in range(len(directions))]
    if len(directions) != len(names):
        raise BadValue("hydra.sweeper.direction", directions, f"one for each of: {' '.join(names)}")
    check_directions(config, names, directions)
    storage = open_storage(settings.storage)
    own = {
        "objectives": names,
        "space": space.texts,
        "signature": signature(config, space),
        "custom_search_space": settings.custom_search_space,
    }
    own |= {"variants": settings.variants} if settings.variants else {}
    about = {
        "search": config.hydra.runtime.choices.get("hparams_search"),
        "overrides": space.fixed,
        "command": shlex.join(["python", *map(hide_argument, sys.argv)]),
        "git_commit": git_state()["git_commit"],
        "sweep_dir": str(Path(settings.directory).absolute()),
    }
    said = mask(own | about)
    try:
        study = optuna.load_study(study_name=settings.study_name, storage=storage)
    except KeyError:
        check_new(settings)
    else:
        known, used = study.user_attrs.keys(), bool(study.get_trials(deepcopy=False))
        if known >= own.keys():
            check_same(study, own | {"fixed": space.fixed}, directions, settings)
            return study if used else _described(study, said)
        if used or not known <= said.keys():
            raise BadValue(
                "hydra.sweeper.study_name",
                settings.study_name,
                f"the study in {settings.storage} was not made by this sweeper; name another study",
            )
        optuna.delete_study(study_name=settings.study_name, storage=storage)
    return _described(optuna.create_study(study_name=settings.study_name, storage=storage, directions=directions), said)


def _described(study: optuna.Study, said: dict[str, Any]) -> optuna.Study:
    """The study with what it does not say of itself yet."""
    for key in [key for key in said if key not in study.user_attrs]:
        study.set_user_attr(key, said[key])
    return study


def signature(config: DictConfig, space: SearchSpace) -> dict[str, Any]:
    """The settings that all trials share, flat and as they are written: budget, data, model and so on."""
    varied = [key.lstrip("+").split("@")[0].replace("/", ".") for key in space.distributions]
    left_out = ("hydra", *FREE, *varied)
    content = OmegaConf.to_container(config, resolve=False)
    return {key: value for key, value in _flat(content) if not any(f"{key}.".startswith(f"{one}.") for one in left_out)}


def check_new(settings: Settings) -> None:
    """Raise a UserError where the directory of a new study holds runs of one whose storage is gone."""
    runs = [path.parent for path in Path(settings.directory).glob("*/run.json")]
    if runs:
        place, left = settings.storage, Path(settings.directory)
        raise BadValue(
            "hydra.sweeper.study_name",
            settings.study_name,
            f"{place} holds no such study, but {left} the runs of one; name another study, or move them away",
        )


def check_same(study: optuna.Study, own: dict[str, Any], directions: list[str], settings: Settings) -> None:
    """Raise a UserError that names what differs between a study and the search that would continue it."""
    there, differing = mask(study.user_attrs), []
    old = read_space(there.get("space", {}), []).distributions
    new = read_space(own["space"], []).distributions
    for key in sorted(old.keys() | new.keys()):
        sides = [distribution_to_json(one[key]) if key in one else None for one in (old, new)]
        if sides[0] != sides[1]:
            texts = [given["space"].get(key, "nothing") for given in (there, own)]
            differing.append(f"{key}={texts[0]}, not {texts[1]}")
    before, now = there.get("signature", {}), mask(own["signature"])
    before = {key: moved(value) if key.endswith("_target_") else value for key, value in before.items()}
    differing += [f"{key}={before[key]}, not {now[key]}" for key in now if key in before and before[key] != now[key]]
    if "overrides" in there:  # not where its maker died before it had said them
        differing += _fixed_otherwise((there["overrides"], before), (mask(own)["fixed"], now))
    pairs = {name: (there.get(name), own.get(name)) for name in ("objectives", "custom_search_space", "variants")}
    pairs["direction"] = [one.name.lower() for one in study.directions], directions
    differing += [f"{name}={one}, not {other}" for name, (one, other) in pairs.items() if one != other]
    if differing:
        more = f" and {len(differing) - LISTED} more" if len(differing) > LISTED else ""
        raise UserError(
            f"hydra.sweeper.study_name={settings.study_name}: the study in {settings.storage} is another search; it has"
            f"\n{'; '.join(differing[:LISTED])}{more}\nname another study, or repeat its settings"
        )


def _fixed_otherwise(*sides: tuple[list[str], dict[str, Any]]) -> list[str]:
    """What is fixed to another value where the signature, given beside, does not tell: below a varied group, or among
    the parameters of the search."""
    fixed = [dict(map(_value_of, OverridesParser.create().parse_overrides(texts))) for texts, _ in sides]
    signatures, found = [signature for _, signature in sides], []
    for key in sorted(fixed[0].keys() | fixed[1].keys()):
        free = any(f"{key}.".startswith(f"{one}.") for one in FREE)
        told = any(name.startswith(f"{key}.") for signature in signatures for name in signature)  # a group's keys
        told = told or all(key in signature for signature in signatures)
        values = [one.get(key, signature.get(key, MISSING)) for one, signature in zip(fixed, signatures, strict=True)]
        if values[0] != values[1] and not free and not told:
            found.append(f"{key}={values[0]}, not {values[1]}")
    return found


def _value_of(override: Override) -> tuple[str, Any]:
    key = override.get_key_element().lstrip("+~").split("@")[0].replace("/", ".")
    return key, MISSING if override.is_delete() else override.value()


def _flat(content: dict, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of nested dictionaries."""
    found = []
    for key, value in content.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
