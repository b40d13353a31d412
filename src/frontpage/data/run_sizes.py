"""RunSizes: what the epochs of a run consist of, where they may differ."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from frontpage.command.limits import Limit
from frontpage.data.epoch_sizes import EpochSizes


class Accumulation(Limit):
    """A whole number of at least 1, or a list of them, one an epoch."""

    words = "at least 1; a list has one for each epoch, the last for all that follow, such as [1,1,2]"

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the two."""
        return all(one >= 1 for one in value) and len(value) > 0 if isinstance(value, list) else value >= 1


def accumulation_of(trainer: Any | None) -> tuple[int, ...]:
    """The micro-batches of an update in epoch 0, 1, ... of a trainer, the last for all that follow; 1 without one."""
    if trainer is None:
        return (1,)
    return getattr(trainer, "accumulation", None) or (trainer.accumulate_grad_batches,)


@dataclass(frozen=True)
class RunSizes:
    """`of(epoch)` are the sizes of epoch 0, 1, ...; from epoch `alike` on all are equal (None: no two need be).

    Only epochs that a question is about are asked for, since to count one may mean to draw its tokens.
    """

    of: Callable[[int], EpochSizes]
    alike: int | None = 0

    @classmethod
    def same(cls, sizes: EpochSizes) -> "RunSizes":
        """Every epoch has these."""
        return cls(lambda epoch: sizes)

    def updates(self, epochs: float, most: float = math.inf) -> float:
        """Optimizer updates of the first `epochs` epochs, or `most` where they are more; either may be infinite."""
        found: float = 0
        for sizes, many in self._parts(epochs):
            found += sizes.updates * many
            if found >= most:
                return most
        return found

    def batches(self, epochs: int) -> int:
        """Micro-batches of the first `epochs` epochs."""
        return sum(sizes.batches * int(many) for sizes, many in self._parts(epochs))

    def place(self, update: int) -> tuple[int, int]:
        """The epoch of update 0, 1, ... of a run, and which of that epoch's it is."""
        epoch = 0
        for sizes, many in self._parts(math.inf):
            if update < sizes.updates * many:
                more, place = divmod(update, sizes.updates)
                return epoch + more, place
            update, epoch = update - sizes.updates, epoch + 1
        raise AssertionError("the epochs of a run have no end")

    def ends(self, updates: int) -> list[int]:
        """The last update of each epoch of a run of so many, counted from 1, and the run's own."""
        found = [0]
        for sizes, many in self._parts(math.inf):
            while many > 0 and found[-1] < updates:
                found.append(min(found[-1] + sizes.updates, updates))
                many -= 1
            if found[-1] >= updates:
                break
        return found[1:]

    def of_run(self, updates: int) -> Iterator[tuple[EpochSizes, int]]:
        """The epochs of a run of `updates`: (sizes, how many updates are made of them); equal ones are one entry."""
        for sizes, many in self._parts(math.inf):
            if updates > 0:
                made = min(updates, sizes.updates * many)
                yield sizes, int(made)
                updates -= made
            if updates <= 0 or math.isinf(many):
                return

    def largest(self, updates: int) -> EpochSizes:
        """Of a run of `updates`, the epoch with the largest update."""
        return max((sizes for sizes, _ in self.of_run(updates)), key=lambda sizes: sizes.update_targets)

    def targets(self, updates: int) -> int:
        """Targets of the first `updates` of a run."""
        found = 0
        for sizes, made in self.of_run(updates):
            epochs, rest = divmod(made, sizes.updates)
            found += epochs * sizes.trained_targets + sizes.targets_of_first(rest)
        return found

    def _parts(self, epochs: float) -> Iterator[tuple[EpochSizes, float]]:
        """The sizes of the first `epochs` epochs, each with how many have them."""
        epoch = 0
        while epoch < epochs:
            many = epochs - epoch if self.alike is not None and epoch >= self.alike else 1
            yield self.of(epoch), many
            epoch += many


def by_epoch(sizes: EpochSizes, accumulation: Sequence[int], tokens: Callable[[int], int] | None = None) -> RunSizes:
    """Epochs like `sizes`, but for their accumulation and, where `tokens(epoch)` counts them, their tokens."""

    @lru_cache(maxsize=64)  # asked for every micro-batch
    def of(epoch: int) -> EpochSizes:
        accumulate = accumulation[min(epoch, len(accumulation) - 1)]
        return replace(sizes, accumulate=accumulate, tokens=sizes.tokens if tokens is None else tokens(epoch))

    changes = [epoch for epoch in range(1, len(accumulation)) if accumulation[epoch] != accumulation[epoch - 1]]
    return RunSizes(of, None if tokens else max(changes, default=0))
