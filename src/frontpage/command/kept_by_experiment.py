"""Where an experiment's values win over those that an option of the command line was chosen for."""

from functools import cache
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from frontpage.command.job import sweeper_of_job
from frontpage.command.leaves import leaves
from frontpage.command.notices import notice
from frontpage.command.override_words import word

AXES = ("data", "tokenizer", "model", "model/attention", "optimizer", "scheduler")


def say_what_the_experiment_keeps(config: DictConfig) -> None:
    """Say which values an option was chosen for and does not have, since the experiment sets them.

    `experiment=quickstart model=tower` has the width of quickstart: an experiment stands over every axis. What the
    option shares with the experiment's own is not told; nor anything under `debug`, which is there to change
    values, or of a run in a search.
    """
    if not HydraConfig.initialized() or sweeper_of_job() is not None:
        return
    job = HydraConfig.get()
    choices, experiment = job.runtime.choices, job.runtime.choices.get("experiment")
    if experiment is None or choices.get("debug") is not None:
        return
    given = {one.key_or_group for one in OverridesParser.create().parse_overrides([*job.overrides.task])}
    search = tuple(one for one in job.overrides.hydra if one.startswith("hydra.searchpath="))
    for axis in AXES:
        if axis not in given or not choices.get(axis):
            continue
        option, own = choices[axis], _options_of(experiment, search).get(axis)
        usual, others = _values(axis, option, search), _values(axis, own, search) if own else {}
        kept = [
            f"{key}={word(value)} (not {word(usual[key])})"
            for key, value in _flat(config, axis)
            if key in usual and value != usual[key] != others.get(key) and key not in given
        ]
        if kept:
            notice(f"{axis}={option}: experiment={experiment} sets {', '.join(kept)}")


@cache
def _options_of(experiment: str, search: tuple[str, ...]) -> dict[str, str]:
    config = compose("train", [f"experiment={experiment}", *search], return_hydra_config=True)
    return dict(config.hydra.runtime.choices)


@cache
def _values(axis: str, option: str, search: tuple[str, ...]) -> dict[str, Any]:
    return dict(_flat(compose(f"{axis}/{option}", [*search]), axis))


def _flat(config: DictConfig, axis: str) -> list[tuple[str, Any]]:
    """The keys of an axis and their values as written; no classes, and nothing of an axis within it."""
    chosen = OmegaConf.select(config, axis.replace("/", "."))
    node = OmegaConf.to_container(chosen, resolve=False) if OmegaConf.is_dict(chosen) else {}
    inner = {name for path in AXES if path.startswith(f"{axis}/") for name in path.split("/")[1:]}
    found = leaves({key: value for key, value in node.items() if key not in inner}, f"{axis.replace('/', '.')}.")
    return [(key, value) for key, value in found if not key.rpartition(".")[2].startswith("_")]
