"""EpochSizes: how the tokens of an epoch fall into rows, micro-batches and optimizer updates; counted here only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochSizes:
    """The arithmetic of one epoch, which depends on its sizes alone; RunSizes has those of a run's epochs.

    `tokens` are those of the training titles, each a target once. A micro-batch has `batch_size` rows of `block_size`
    tokens on each of `world_size` processes, an update `accumulate` micro-batches; the last row, micro-batch and update
    of an epoch have what is left. With `drop_tail` what does not fill an update is left out. `limit` ends an epoch
    after that many micro-batches (a whole number) or that share of them: Lightning's `limit_train_batches`.
    """

    tokens: int
    block_size: int
    batch_size: int
    accumulate: int = 1
    world_size: int = 1
    drop_tail: bool = False
    limit: int | float = 1.0

    @property
    def full_batch(self) -> int:
        """Targets of a full micro-batch, over all processes."""
        return self.block_size * self.batch_size * self.world_size

    @property
    def targets(self) -> int:
        """Targets of an epoch that no limit ends early."""
        update = self.full_batch * self.accumulate
        return (self.tokens - 1) // update * update if self.drop_tail else self.tokens

    @property
    def all_batches(self) -> int:
        """Micro-batches of an epoch that no limit ends early."""
        return -(-self.targets // self.full_batch)

    @property
    def batches(self) -> int:
        """Micro-batches of an epoch."""
        return min(self.limit, self.all_batches) if isinstance(self.limit, int) else int(self.limit * self.all_batches)

    @property
    def updates(self) -> int:
        """Optimizer updates of an epoch."""
        return -(-self.batches // self.accumulate)

    @property
    def trained_targets(self) -> int:
        """Targets of an epoch, of its micro-batches that the limit leaves."""
        return min(self.batches * self.full_batch, self.targets)

    @property
    def micro_batch(self) -> int:
        """Rows of the largest micro-batch on one process: `batch_size`, or fewer where an epoch has fewer."""
        return min(self.batch_size, -(-self._rows(self.targets) // self.world_size))

    @property
    def accumulated(self) -> int:
        """Micro-batches of the largest update: `accumulate`, or fewer where an epoch has fewer."""
        return min(self.accumulate, self.batches)

    @property
    def update_rows(self) -> int:
        """Rows of the largest update, over all processes."""
        return self._rows(self.update_targets)

    @property
    def update_targets(self) -> int:
        """Targets of the largest update, over all processes."""
        return self.targets_of_update(0)

    def targets_in(self, index: int) -> int:
        """Targets of micro-batch `index` of an epoch, over all processes."""
        return min(self.full_batch, self.targets - index * self.full_batch)

    def targets_of_update(self, index: int) -> int:
        """Targets, over all processes, of the update that micro-batch `index` of an epoch is a part of."""
        first = index // self.accumulate * self.accumulate
        return min(min(first + self.accumulate, self.batches) * self.full_batch, self.targets) - first * self.full_batch

    def targets_of_first(self, updates: int) -> int:
        """Targets, over all processes, of the first `updates` of an epoch."""
        return min(updates * self.accumulate * self.full_batch, self.trained_targets)

    def update_of(self, index: int) -> int:
        """Which update of an epoch, 0, 1, ..., micro-batch `index` is a part of."""
        return index // self.accumulate

    def update_of_run(self, step: int) -> int:
        """The update of a run of such epochs that micro-batch `step`, counted from the run's first, is a part of."""
        epoch, index = divmod(step, self.batches)
        return epoch * self.updates + self.update_of(index)

    def targets_of(self, index: int, rank: int) -> int:
        """Targets of micro-batch `index` that process `rank` has, which takes every `world_size`-th row."""
        targets = self.targets_in(index)
        rows = self._rows(targets)
        of_last = (rows - 1) % self.world_size == rank
        own = len(range(rank, rows, self.world_size)) * self.block_size
        return own - (rows * self.block_size - targets if of_last else 0)

    def share(self, index: int, rank: int = 0) -> float:
        """What of its update's targets process `rank` has in micro-batch `index`: the weight of their mean loss."""
        return self.targets_of(index, rank) / self.targets_of_update(index)

    def _rows(self, targets: int) -> int:
        return -(-targets // self.block_size)
