"""The values in a run's stored config, checked by the signatures that a composed config is checked by."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from frontpage.command.check import ANYTHING, Kinds, check_value, parameters
from frontpage.command.errors import BadValue, UserError

TITLES = "frontpage.data.title_data.TitleData"  # the keys of a class of somebody's own are at least these
SCORING = ("block_size", "batch_size", "evaluation_tokens", "evaluation_row")  # of `data`: what titles are scored by


def check_model(config: DictConfig, source: Path) -> None:
    """Raise a UserError for a value below `model` of a wrong type or outside its limits; its targets are checked."""
    _check_node(config.model, "model", source)


def check_scoring(config: DictConfig, source: Path) -> None:
    """Raise a UserError unless `data` says how titles are scored, every value of it within its limits."""
    data = config.get("data")
    for name in SCORING:
        if data is None or name not in data:
            raise UserError(f"data.{name}: {source} lacks it, and titles are scored by it")
    try:
        kinds = parameters(str(data.get("_target_")), "data", {})
    except UserError:  # it is not built here, so it may be of any class
        kinds = parameters(TITLES, "data", {})
    _check_values(data, "data", kinds, source)


def _check_node(node: DictConfig, key: str, source: Path) -> None:
    """The values of a node of ours, and of all nodes below it; those of other libraries they check themselves."""
    target = str(node.get("_target_"))
    _check_values(node, key, parameters(target, key, {}) if target.startswith("frontpage.") else {}, source)
    for name, below in node.items():
        if isinstance(below, DictConfig):
            _check_node(below, f"{key}.{name}", source)


def _check_values(node: DictConfig, key: str, kinds: Kinds, source: Path) -> None:
    for name in (name for name in node if name in kinds and name != ANYTHING):
        value: Any = node[name]
        if isinstance(value, DictConfig) and "_target_" in value:
            continue
        try:
            check_value(f"{key}.{name}", value, kinds[name])
        except BadValue as error:
            raise BadValue(error.key, error.value, f"{error.allowed}; it stands in {source}") from None
