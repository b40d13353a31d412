"""What a search minimises: one number of a finished run, or several."""

from collections.abc import Mapping, Sequence
from typing import Any

# Numbers of run.json beside its metrics.
COSTS = (
    "parameters",
    "non_embedding_parameters",
    "seconds",
    "training_flops",
    "tokens_seen",
    "tokens_per_second",
    "model_flops_utilization",
    "peak_memory_bytes",
    "estimated_memory_bytes",
)
HEADLINE = "val/nats_per_char"


def objectives(objective: str | Sequence[str]) -> list[str]:
    """The names of a config's `objective`, be it one or a list."""
    return [objective] if isinstance(objective, str) else [str(name) for name in objective]


def monitored(objective: str | Sequence[str]) -> str:
    """The objective that callbacks follow while a run trains: the first metric among them, else the headline."""
    return next((name for name in objectives(objective) if name.startswith("val/")), HEADLINE)


def reported(objective: str | Sequence[str]) -> str | None:
    """What a trial reports to its study while it trains: its one objective, where each validation measures it."""
    names = objectives(objective)
    return names[0] if len(names) == 1 and names[0].startswith("val/") else None


def objective_values(objective: str | Sequence[str], record: Mapping[str, Any]) -> float | tuple[float, ...]:
    """What `run.json` says of the objective, a tuple for a list of them; NaN for what it does not say."""
    found = record["metrics"]["final"] | {name: record.get(name) for name in COSTS}
    values = [found.get(name) for name in objectives(objective)]
    numbers = tuple(float("nan") if value is None else float(value) for value in values)
    return numbers[0] if isinstance(objective, str) else numbers
