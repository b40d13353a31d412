"""TaskMeans: the mean loss of each task over its micro-batches since the newest logging step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Mean = Callable[[Tensor | float], float]  # of a number of each process, over all of them


class TaskMeans:
    """Sums of what is added, so that nothing waits for the device until it is asked.

    Where a `mean` over processes is asked for, all of them ask, and have had the same tasks.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, int]] = {}  # by task, and of how many micro-batches
        self._logged: dict[str, float] = {}  # by task, the newest mean that was logged

    def add(self, task: str, loss: Tensor) -> None:
        """One more micro-batch."""
        total, count = self._sums.get(task, (0.0, 0))
        self._sums[task] = total + loss, count + 1

    def since(self, mean: Mean) -> dict[str, float]:
        """By task, of those that had a micro-batch since."""
        return {task: mean(total / count) for task, (total, count) in self._sums.items()}

    def newest(self, mean: Mean) -> dict[str, float]:
        """The same, and what was logged of the others."""
        return self._logged | self.since(mean)

    def begin_anew(self, mean: Mean) -> None:
        """A logging step is over."""
        self._logged, self._sums = self.newest(mean), {}

    def state(self, mean: Mean) -> dict[str, Any]:
        """For a checkpoint."""
        sums = {task: [mean(total + 0.0), count] for task, (total, count) in self._sums.items()}
        return {"sums": sums, "logged": self._logged}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._sums = {task: (torch.tensor(total), count) for task, (total, count) in state["sums"].items()}
        self._logged = dict(state["logged"])
