"""The space of a search: what is varied, what is fixed, and the points of a grid.

The only file that uses inner parts of hydra-optuna-sweeper: how a range of Hydra's grammar becomes Optuna's.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution, CategoricalDistribution

from frontpage.errors import bad_value, require

ALLOWED = "interval(a,b) int(interval(a,b)) tag(log,interval(a,b)) choice(a,b) range(a,b), with a below b"


@dataclass(frozen=True)
class SearchSpace:
    """Distributions and their texts by the key that they vary, and the overrides that every trial shares."""

    distributions: dict[str, BaseDistribution]
    texts: dict[str, str]
    fixed: list[str]

    def grid(self) -> list[dict[str, Any]]:
        """Every point, the last key varying fastest; UserError for a range that has no end of points."""
        axes = []
        for key, distribution in self.distributions.items():
            try:
                axes.append(list(OptunaSweeperImpl._to_grid_sampler_choices(distribution)))
            except ValueError as error:
                allowed = "a grid takes choice(a,b) and range(a,b) only"
                raise bad_value(key, self.texts[key], allowed) from error
        return [dict(zip(self.distributions, values, strict=True)) for values in itertools.product(*axes)]

    def corners(self) -> Iterator[dict[str, Any]]:
        """Points to look at before a search: all lower ends, all upper ends, and each choice."""
        first = {key: _ends(distribution)[0] for key, distribution in self.distributions.items()}
        yield first
        yield {key: _ends(distribution)[1] for key, distribution in self.distributions.items()}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                for choice in distribution.choices[1:-1]:
                    yield first | {key: choice}


def read_space(params: Mapping[str, Any], arguments: list[str]) -> SearchSpace:
    """The space of `hydra.sweeper.params` and of the command line, whose words come later and win.

    Raises UserError for a range that holds nothing, and Hydra's own error for what cannot be read.
    """
    given = [f"{key}={spelled(value)}" for key, value in params.items()] + arguments
    space = SearchSpace({}, {}, [])
    fixed: dict[str, str] = {}
    for line, override in zip(given, OverridesParser.create().parse_overrides(given), strict=True):
        key = override.get_key_element()
        fixed.pop(key, None), space.distributions.pop(key, None), space.texts.pop(key, None)
        if override.is_delete() or not override.is_sweep_override():
            fixed[key] = line
            continue
        text = line.partition("=")[2]
        try:
            distribution = create_optuna_distribution_from_override(override)
        except (ValueError, AssertionError, NotImplementedError) as error:
            raise bad_value(key, text, f"not a range of a search ({error}); allowed: {ALLOWED}") from error
        require(key != "name", key, text, "names the study, so it is the same in all trials")
        _refuse_repeated(key, text, distribution)
        space.distributions[key], space.texts[key] = distribution, text
    space.fixed.extend(fixed.values())
    return space


def overrides_of(point: Mapping[str, Any]) -> tuple[str, ...]:
    """The overrides that make a run of a point."""
    return tuple(f"{key}={spelled(value)}" for key, value in point.items())


def spelled(value: Any) -> str:
    """A value as an override spells it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _refuse_repeated(key: str, text: str, distribution: BaseDistribution) -> None:
    """Raise a UserError for a choice that stands twice: its points would be run twice."""
    choices = [spelled(choice) for choice in getattr(distribution, "choices", ())]
    repeated = [choice for choice in dict.fromkeys(choices) if choices.count(choice) > 1]
    require(not repeated, key, text, f"has {' '.join(repeated)} more than once; name each choice once")


def _ends(distribution: BaseDistribution) -> tuple[Any, Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0], distribution.choices[-1]
    return distribution.low, distribution.high
