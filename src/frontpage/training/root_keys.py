"""The keys of a config that stand in no group, what each may be, and the metrics that an objective may name."""

import typing
from typing import Annotated, Any, TypedDict

from frontpage.command.limits import Count, Limit, Seed, Text
from frontpage.command.objective import COSTS

# Metrics that are not computed at every validation unless this key of the model says so.
METRIC_NEEDS = {"val/mainrun_loss": "original_metric", "val/packed_nats_per_char": "packed_metric"}
METRICS = ("val/nats_per_char", "val/loss", "val/perplexity", "val/bits_per_byte", *METRIC_NEEDS)


class Minimised(Limit):
    """A metric of a run, or a list of metrics and costs of which there is at least one."""

    words = f"one of {' '.join(METRICS)}, or a list of them and of {' '.join(COSTS)}"

    def holds(self, value: Any) -> bool:
        """Whether a search can minimise it."""
        if isinstance(value, str):
            return value in METRICS
        return len(value) > 0 and all(one in (*METRICS, *COSTS) for one in value)


class RootKeys(TypedDict):
    """What configs/train.yaml says of each."""

    name: Text
    seed: Seed
    objective: Annotated[str | list, Minimised()]
    ckpt_path: Text | None
    init_from: Text | None
    test: bool
    log_interval: Count | None
    val_interval: Count | None
    save_interval: Count | None


ROOT_KEYS = typing.get_type_hints(RootKeys, include_extras=True)
