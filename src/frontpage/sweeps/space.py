"""The space of a search: what is varied, what is fixed, and the points of a grid."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution

from frontpage.command.errors import BadValue, nearest
from frontpage.command.override_words import word
from frontpage.sweeps.ranges import MOST_POINTS, distribution_of, grid_values, refuse_fixed

Variants = Mapping[str, Sequence[str]]  # names for several overrides together
VARIANT = "variant"  # the key of a point that holds such a name
MANY = 20  # choices; of so many numbers only the first and the last are looked at before a search


@dataclass(frozen=True)
class SearchSpace:
    """Distributions and their texts by the key that they vary, and the overrides that every trial shares."""

    distributions: dict[str, BaseDistribution]
    texts: dict[str, str]
    fixed: list[str]
    variants: Variants = field(default_factory=dict)

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """What makes a run of a point: its values, what all trials share, and its variant's overrides, which win."""
        values = {key: value for key, value in point.items() if not (self.variants and key == VARIANT)}
        chosen = self.variants[point[VARIANT]] if self.variants else ()
        return [*overrides_of(values, self.distributions), *self.fixed, *chosen]

    def grid(self) -> list[dict[str, Any]]:
        """Every point, the last key varying fastest; UserError for a range that has no end of points."""
        axes = [grid_values(key, self.texts[key], one) for key, one in self.distributions.items()]
        count = math.prod(map(len, axes))
        if count > MOST_POINTS:
            raise BadValue("hydra/sweeper/sampler", "grid", f"{count:,} points; at most {MOST_POINTS:,}")
        return [dict(zip(self.distributions, values, strict=True)) for values in itertools.product(*axes)]

    def corners(self) -> Iterator[dict[str, Any]]:
        """Points to look at before a search: all lower ends, all upper ends, and each choice."""
        first = {key: _ends(distribution)[0] for key, distribution in self.distributions.items()}
        yield first
        yield {key: _ends(distribution)[1] for key, distribution in self.distributions.items()}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                between = distribution.choices[1:-1]
                for choice in between if len(between) < MANY else [one for one in between if isinstance(one, str)]:
                    yield first | {key: choice}


def read_space(params: Mapping[str, Any], arguments: list[str], variants: Variants | None = None) -> SearchSpace:
    """The space of `hydra.sweeper.params` and of the command line, whose words come later and win.

    With `variants` it has one more key, `variant`, a choice of their names, all unless the command line chooses some.
    Raises UserError for a range that holds nothing, and Hydra's own error for what cannot be read.
    """
    named = [f"{VARIANT}=choice({','.join(variants)})"] if variants else []
    given = named + [_line(str(key), value) for key, value in params.items()] + arguments
    space = SearchSpace({}, {}, [], variants or {})
    fixed: dict[str, str] = {}
    for line, override in zip(given, OverridesParser.create().parse_overrides(given), strict=True):
        key, text = override.get_key_element(), line.partition("=")[2]
        for earlier in (fixed, space.distributions, space.texts):
            for other in [other for other in earlier if other.lstrip("+~") == key.lstrip("+~")]:
                earlier.pop(other)  # `x=1`, `+x=1` and `~x` speak of one key
        inner = re.match(r"[+~]*hydra[./@]", key)
        if inner:
            raise BadValue(key, text, "belongs to the search, not to its trials; set it beside hydra.sweeper.params")
        if override.is_delete() or not override.is_sweep_override():
            refuse_fixed(key, text, override)
            fixed[key] = line
            continue
        distribution = distribution_of(key, text, override)
        if key.lstrip("+") == "name":
            raise BadValue(key, text, "names the study, so it is the same in all trials")
        _refuse_repeated(key, text, distribution)
        space.distributions[key], space.texts[key] = distribution, text
    space.fixed.extend(fixed.values())
    if variants:
        _check_chosen(space, fixed)
    return space


def _check_chosen(space: SearchSpace, fixed: Mapping[str, str]) -> None:
    """Raise a UserError unless `variant` is a choice of names that there are."""
    known = ", ".join(space.variants)
    if VARIANT in fixed:
        raise BadValue(VARIANT, fixed[VARIANT].partition("=")[2], f"choice(...) of several of {known}")
    chosen = getattr(space.distributions[VARIANT], "choices", None)
    for name in chosen or [None]:
        if name not in space.variants:
            raise BadValue(VARIANT, space.texts[VARIANT], f"choice(...) of {known}{nearest(str(name), space.variants)}")


def _line(key: str, value: Any) -> str:
    """An entry of hydra.sweeper.params as a word of the command line."""
    nested = isinstance(value, Mapping) and any("(" in str(one) for one in value.values())
    if nested:
        raise BadValue(f"hydra.sweeper.params.{key}", value, "name the whole key with dots, such as optimizer.lr")
    return f"{key}={spelled(value)}"


def overrides_of(point: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> tuple[str, ...]:
    """The overrides that make a run of a point; what is not of the space was suggested by a function, as a value."""
    return tuple(f"{key}={spelled(value) if key in space else word(value)}" for key, value in point.items())


def spelled(value: Any) -> str:
    """A value as an override spells it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _refuse_repeated(key: str, text: str, distribution: BaseDistribution) -> None:
    """Raise a UserError for a choice that stands twice: its points would be run twice. 1, 1.0 and true are one."""
    choices = getattr(distribution, "choices", ())
    repeated = [spelled(one) for place, one in enumerate(choices) if one in choices[:place]]
    if repeated:
        raise BadValue(key, text, f"has {' '.join(repeated)} more than once; name each choice once")


def _ends(distribution: BaseDistribution) -> tuple[Any, Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0], distribution.choices[-1]
    return distribution.low, distribution.high
