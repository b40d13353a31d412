"""A range of Hydra's grammar as Optuna's distribution, or the words for why it is none.

The only file that uses inner parts of hydra-optuna-sweeper.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, QuotedString, Sweep, Transformer
from hydra.errors import HydraException
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from frontpage.command.errors import BadValue
from frontpage.command.override_words import ALLOWED, word

MOST_POINTS = 100_000  # of a grid; each is looked for among the trials before each trial


def distribution_of(key: str, text: str, override: Override) -> BaseDistribution:
    """The distribution of a range; UserError where it holds nothing, or asks for what a search cannot give."""
    value = override.value()
    if isinstance(value, Glob):
        raise BadValue(key, text, "a search does not know what it stands for; name the options: choice(a,b)")
    allowed = "would be in another order at each start; the sampler chooses, so leave shuffle out"
    if getattr(value, "shuffle", False):
        raise BadValue(key, text, allowed)
    if isinstance(value, IntervalSweep):
        finite = math.isfinite(value.start) and math.isfinite(value.end)
        if not finite:
            raise BadValue(key, text, "both ends must be finite numbers")
        if not value.tags <= {"log"}:
            raise BadValue(key, text, "the only tag that a search knows is log")
    else:
        if value.tags:
            raise BadValue(key, text, "a search knows only tag(log,interval(a,b))")
    try:
        if override.is_choice_sweep():
            return CategoricalDistribution([_choice(one) for one in override.sweep_iterator(Transformer.identity)])
        return create_optuna_distribution_from_override(override)
    except (ValueError, AssertionError, NotImplementedError, HydraException) as error:
        said = (str(error).splitlines() or [""])[0]
        raise BadValue(key, text, f"not a range of a search ({said}); allowed: {ALLOWED}") from error


def refuse_fixed(key: str, text: str, override: Override) -> None:
    """Raise a UserError for what is the same in all trials by its form, and is not by its meaning."""
    if override.is_delete():
        return
    inside = any(isinstance(one, Sweep | Glob) for one in _parts(override.value()))
    if inside:
        raise BadValue(key, text, "has a range inside; the whole value is the range: choice([1,2],[1,3])")
    shuffled = re.match(r"shuffle\(", text.strip())
    if shuffled:
        raise BadValue(key, text, "would be another list in each trial; leave shuffle out")


def grid_values(key: str, text: str, distribution: BaseDistribution) -> Sequence[Any]:
    """The points of one axis of a grid; UserError for a range that has no end of them, or hardly one."""
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    step = getattr(distribution, "step", None)
    if step is not None and (distribution.high - distribution.low) / step > MOST_POINTS:
        raise BadValue(key, text, f"a grid has at most {MOST_POINTS:,} points")
    try:
        return list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
    except ValueError as error:
        raise BadValue(key, text, "a grid takes choice(a,b) and range(a,b) only") from error


def _choice(value: Any) -> Any:
    """A choice as an override spells it: a number, a truth value, or the text to stand behind `key=`."""
    if isinstance(value, str) and not isinstance(value, QuotedString):
        return value if _reads_as_itself(value) else word(value)  # `choice(...)` takes the quotes away
    return Transformer.encode(value)


def _reads_as_itself(text: str) -> bool:
    try:
        (override,) = OverridesParser.create().parse_overrides([f"key={text}"])
    except HydraException:
        return False
    value = override.value()
    return isinstance(value, str) and value == text


def _parts(value: Any) -> Iterator[Any]:
    """A value and all within it."""
    yield value
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inside:
        yield from _parts(one)
