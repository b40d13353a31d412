"""Metric: what a module declares of a number that it measures, so that nothing else has to know its name."""

from collections.abc import Iterable
from dataclasses import dataclass

LOWER, HIGHER = "lower", "higher"
MODES = {LOWER: "min", HIGHER: "max"}  # as callbacks spell it
DIRECTIONS = {LOWER: "minimize", HIGHER: "maximize"}  # as searches do


@dataclass(frozen=True)
class Metric:
    """A number of a validation: `name` as it is logged, which value is `better`, and what goes with it.

    `better` is None for a number that is no aim by itself, such as an error or a coverage. `error` names the metric
    that holds its standard error. `needs` is the setting under which every validation measures it, for one that
    not every validation does.
    """

    name: str
    better: str | None = LOWER
    error: str | None = None
    unit: str | None = None  # in words, e.g. `nats a character`
    needs: str | None = None  # e.g. `model.original_metric=always`

    def as_good(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other` or equal."""
        return one >= other if self.better == HIGHER else one <= other


def measured_always(metrics: Iterable[Metric]) -> list[str]:
    """The names of those that every validation has."""
    return [metric.name for metric in metrics if metric.needs is None]


def aims(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Those that a search can have as its objective, by name."""
    return {metric.name: metric for metric in metrics if metric.better is not None}
