"""Settings: the keys of `hydra.sweeper`, checked, and what they name: sampler, pruner, functions."""

import importlib
import inspect
import re
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import execution_whitelist, get_method, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution

from frontpage.command.allowed_targets import check_target, targets_in
from frontpage.command.check import check_value
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.extras import installing
from frontpage.command.limits import AtLeast, Count, Positive, Seed
from frontpage.command.notices import notice

# What a sampler imports at its first proposal, and the extra of ours that brings it.
NEEDS = {"CmaEsSampler": ("cmaes", "cmaes"), "GPSampler": ("scipy", "analysis"), "QMCSampler": ("scipy", "analysis")}
SEEDS, SEEDS_APART = 2**32, 1009  # those of NumPy, and from one draw to the next
DIRECTIONS = ("minimize", "maximize")
# What hydra-optuna-sweeper's own options name beside the classes of Optuna.
PLUGIN = tuple(f"hydra_plugins.hydra_optuna_sweeper._impl.create_nsgai{more}_sampler" for more in ("i", "ii"))


@dataclass
class Settings:
    """The keys of `hydra.sweeper`; raises UserError for a value that is not allowed."""

    sampler: Any
    pruner: Any
    study_name: str
    directory: str
    storage: str
    n_trials: Count
    max_failed: Count
    max_retries: Annotated[int, AtLeast(0)]
    skip_infeasible: bool
    direction: Any
    seed: Seed | None
    n_jobs: Count
    heartbeat: Positive
    custom_search_space: str | None
    check: str | None
    params: DictConfig | None
    variants: Any = None
    directions: list[str] | None = None

    def __post_init__(self) -> None:
        for name in ("directory", "storage"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise BadValue(
                    f"hydra.sweeper.{name}", value, "a path" + (", or with :// a database" if name == "storage" else "")
                )
        options = " ".join(sorted(path.stem for path in Path(CONFIGS, "hydra/sweeper/sampler").glob("*.yaml")))
        node = isinstance(self.sampler, DictConfig) and self.sampler.get("_target_") is not None
        if not node:
            raise BadValue("hydra/sweeper/sampler", self.sampler, f"one of {options}")
        kinds = typing.get_type_hints(Settings, include_extras=True)
        for name in ("n_trials", "max_failed", "max_retries", "n_jobs", "seed", "heartbeat", "skip_infeasible"):
            check_value(f"hydra.sweeper.{name}", getattr(self, name), kinds[name])
        text = isinstance(self.study_name, str) and self.study_name.strip("./ ") != "" and "/" not in self.study_name
        if not text or not self.study_name.isprintable():
            raise BadValue("hydra.sweeper.study_name", self.study_name, "a text without /, which names a folder")
        if self.params is not None and not isinstance(self.params, DictConfig):
            raise BadValue(
                "hydra.sweeper.params", self.params, "a range for each key, e.g. {optimizer.lr: 'interval(1e-4,1e-2)'}"
            )
        self.variants = checked_variants(self.variants)
        several = isinstance(self.direction, list | tuple | ListConfig)
        given = list(self.direction) if several else [self.direction]
        self.directions = [str(getattr(one, "name", one)) for one in given]
        known = bool(given) and all(one in DIRECTIONS for one in self.directions)
        if not known:
            raise BadValue("hydra.sweeper.direction", self.direction, "minimize or maximize, or a list of them")
        open_pruner(self.pruner)
        self.make_sampler(0)
        _require_packages(_target(self.sampler))

    @property
    def grid(self) -> bool:
        """Whether every point of the space is to be run."""
        return _target(self.sampler) == "GridSampler"

    def make_sampler(self, draw: int) -> optuna.samplers.BaseSampler:
        """A sampler for the trial of that draw; its seed is its own, so that workers do not propose the same points.

        A study that was broken off is continued with the proposals that it would have had.
        """
        if self.grid:  # for what a function suggests beside the grid
            return optuna.samplers.RandomSampler(_seed_of(self.seed, draw))
        seed, target = self.sampler.get("seed"), _target(self.sampler)
        check_value("hydra.sweeper.sampler.seed", seed, Seed | None)
        own: dict[str, Any] = {}
        if seed is not None and target != "QMCSampler":
            own["seed"] = _seed_of(seed, draw)
        elif seed is not None:  # its draws share one sequence, but for what it leaves to chance, as all of the first is
            own["independent_sampler"] = optuna.samplers.RandomSampler(_seed_of(seed, draw))
        return _make(self.sampler, "hydra/sweeper/sampler", optuna.samplers.BaseSampler, **own)

    def check_sampler(self, distributions: Mapping[str, BaseDistribution]) -> None:
        """Say what CMA-ES would draw at random; UserError where that is all of the space."""
        if _target(self.sampler) != "CmaEsSampler":
            return
        choices = [key for key, one in distributions.items() if isinstance(one, CategoricalDistribution)]
        numbers = len(distributions) - len(choices)
        allowed = f"searches over two numbers or more, and this space has {numbers}; tpe searches over anything"
        if numbers < 2 and self.custom_search_space is None:
            raise BadValue("hydra/sweeper/sampler", "cmaes", allowed)
        if choices:
            notice(f"hydra/sweeper/sampler=cmaes draws choices at random: {' '.join(choices)}")

    def function(self, key: str) -> Callable[..., Any] | None:
        """The function that `custom_search_space` or `check` names."""
        path = getattr(self, key)
        if path is None:
            return None
        arguments = ("config", "trial") if key == "custom_search_space" else ("config",)
        try:
            function = get_method(str(path))
        except (ImportError, ValueError, TypeError) as error:
            raise BadValue(f"hydra.sweeper.{key}", path, f"no such function ({_said(error)})") from error
        try:
            inspect.signature(function).bind(*arguments)
        except ValueError:  # one of C, which does not say what it takes
            pass
        except TypeError as error:
            allowed = f"is called with ({', '.join(arguments)}), and it says: {_said(error)}"
            raise BadValue(f"hydra.sweeper.{key}", path, allowed) from error
        return function


def checked_variants(given: Any) -> dict[str, list[str]] | None:
    """Named lists of overrides as plain types; UserError for what is no override of a run."""
    if given is None:
        return None
    key = "hydra.sweeper.variants"
    found = OmegaConf.to_container(given, resolve=True) if isinstance(given, DictConfig) else given
    if not isinstance(found, dict) or not found:
        raise BadValue(key, given, "a list of overrides for each name, e.g. {base: [], wide: [model.d_model=512]}")
    for name, words in found.items():
        if not re.fullmatch(r"[A-Za-z]\w*", str(name)):
            raise BadValue(key, name, "a name is letters, digits and _")
        if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
            raise BadValue(f"{key}.{name}", words, "a list of overrides, such as [model.d_model=512]")
        try:
            overrides = OverridesParser.create().parse_overrides(words)
        except HydraException as error:
            raise BadValue(f"{key}.{name}", words, f"no overrides ({_said(error)})") from error
        for one in overrides:
            if one.is_sweep_override() or re.match(r"hydra[./@]", one.key_or_group):
                raise BadValue(f"{key}.{name}", one.input_line, "an override of a run: no range, and no key of hydra")
    return found


def settings_of(keys: Mapping[str, Any]) -> Settings:
    """Settings of the keys below `hydra.sweeper`; UserError for one that is unknown, and for one that was deleted."""
    known = [field.name for field in fields(Settings) if field.name != "directions"]
    for key, value in keys.items():
        allowed = f"no such key{nearest(key, known)}; hydra.sweeper has: {' '.join(known)}"
        if key not in known:
            raise BadValue(f"hydra.sweeper.{key}", value, allowed)
    missing = [key for key in known if key not in keys]
    if missing:
        raise UserError(f"~hydra.sweeper.{missing[0]}: a search needs it; set it to another value instead")
    return Settings(**keys)


def open_pruner(node: DictConfig | str | None) -> optuna.pruners.BasePruner:
    """The pruner of a node with a `_target_`, of the name of one of our options, or none."""
    if node is None:
        return optuna.pruners.NopPruner()
    if isinstance(node, str):
        options = sorted(path.stem for path in Path(CONFIGS, "hydra/sweeper/pruner").glob("*.yaml"))
        known = f"one of {' '.join(options)}{nearest(node, options)}"
        if node not in options:
            raise BadValue("hydra.sweeper.pruner", node, known)
        node = OmegaConf.load(Path(CONFIGS, "hydra/sweeper/pruner", f"{node}.yaml"))
    return _make(node, "hydra/sweeper/pruner", optuna.pruners.BasePruner)


def _seed_of(seed: int | None, draw: int) -> int | None:
    return None if seed is None else (seed + SEEDS_APART * draw) % SEEDS


def _make(node: Any, key: str, kind: type, **late: Any) -> Any:
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target is None:
        raise BadValue(key, node, "a node with a _target_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # most of Optuna's newer options
        targets = tuple(target for place, target in targets_in(node, key) if _check_offered(target, place))
        try:
            made = instantiate(node, **late, _execution_whitelist_=execution_whitelist(targets, reset=True))
        except Exception as error:
            raise UserError(f"{key}: {_said(error)}") from error
    if not isinstance(made, kind):
        raise BadValue(key, target, f"is no {kind.__name__.removeprefix('Base').lower()} of Optuna")
    return made


def _check_offered(target: Any, place: str) -> bool:
    """True for a sampler or pruner: Optuna's, the plugin's or one that a config file names; UserError for all else."""
    package, _, name = str(target).rpartition(".")
    kinds = {"optuna.samplers": optuna.samplers.BaseSampler, "optuna.pruners": optuna.pruners.BasePruner}
    found = getattr(importlib.import_module(package), name, None) if package in kinds else None
    if not (isinstance(found, type) and issubclass(found, kinds[package])) and target not in PLUGIN:
        check_target(target, place)
    return True


def _target(node: DictConfig) -> str:
    return str(node.get("_target_")).rpartition(".")[2]


def _require_packages(sampler: str) -> None:
    package, extra = NEEDS.get(sampler, (None, None))
    try:
        if package is not None:
            importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"hydra/sweeper/sampler: {sampler} needs {package}: {installing(extra)}") from error


def _said(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
