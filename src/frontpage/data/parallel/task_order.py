"""TaskOrder: which task each micro-step trains, a pure function of the seed and the number of the step."""

from collections.abc import Callable, Mapping

import numpy as np

from frontpage.command.points import Points

BLOCK = 40  # micro-steps: the fewest that hold 70, 15, 7.5 and 7.5 per cent exactly
ORDERS = ("stratified", "iid")


class TaskOrder:
    """Blocks of BLOCK micro-steps; each holds every task as often as its weight says, in a shuffle of its own.

    What a weight leaves over after whole micro-steps is carried into the next block, so that over a run every task has
    its share. With `how="iid"` each micro-step draws its task by itself. `weights` are looked at in the update in which
    a block begins, which `update_of(step)` tells. Nothing is stored: a resumed run and all processes find the same
    order. Raises ValueError where at some update no task has a weight.
    """

    def __init__(
        self,
        weights: Mapping[str, Points],
        seed: int,
        update_of: Callable[[int], int] = int,
        how: str = "stratified",
    ) -> None:
        if how not in ORDERS:
            raise ValueError(f"task_order={how}: one of {' '.join(ORDERS)}")
        self.names, self.weights = list(weights), list(weights.values())
        self.seed, self.update_of, self.how = seed, update_of, how
        for update in sorted({0.0, *(update for points in self.weights for update in points.updates)}):
            if sum(points.at(int(update)) for points in self.weights) <= 0:
                raise ValueError(f"tasks: no task has a weight at update {int(update)}; one of them must be above 0")
        self._blocks: list[np.ndarray] = []  # (BLOCK,) indices of tasks
        self._before: list[np.ndarray] = [np.zeros(len(self.names), dtype=np.int64)]  # micro-steps of each task so far
        self._left = np.zeros(len(self.names))  # shares of micro-steps that no block has given yet

    def at(self, step: int) -> tuple[str, int]:
        """(the task of micro-step `step`, how many micro-steps had it before)."""
        block, place = divmod(step, BLOCK)
        while len(self._blocks) <= block:
            self._add_block()
        tasks = self._blocks[block]
        task = tasks[place]
        return self.names[task], int(self._before[block][task] + (tasks[:place] == task).sum())

    def share(self, name: str) -> float:
        """The share of micro-steps that a task has in the end, when no weight changes any more."""
        last = [points.values[-1] for points in self.weights]
        return last[self.names.index(name)] / sum(last) if name in self.names and sum(last) else 0.0

    def _add_block(self) -> None:
        block = len(self._blocks)
        shares = np.array([points.at(self.update_of(block * BLOCK)) for points in self.weights])
        shares = shares / shares.sum()
        draws = np.random.default_rng((self.seed, block))
        if self.how == "iid":
            tasks = draws.choice(len(shares), BLOCK, p=shares)
        else:
            wanted = shares * BLOCK + self._left
            counts = np.maximum(np.floor(wanted + 1e-9), 0).astype(np.int64)
            counts[shares == 0] = 0
            rest = np.where(shares > 0, wanted - counts, -np.inf)
            for index in np.argsort(-rest, kind="stable")[: max(BLOCK - int(counts.sum()), 0)]:  # largest remainder
                counts[index] += 1
            while counts.sum() > BLOCK:
                counts[np.argmin(np.where(counts > 0, wanted - counts, np.inf))] -= 1
            self._left = np.where(shares > 0, wanted - counts, 0.0)
            tasks = draws.permutation(np.repeat(np.arange(len(shares)), counts))
        self._blocks.append(tasks)
        self._before.append(self._before[block] + np.bincount(tasks, minlength=len(shares)))
