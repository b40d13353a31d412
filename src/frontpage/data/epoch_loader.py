"""EpochLoader: training batches in an order that depends on (seed, epoch) only, and that can be taken up anywhere."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from frontpage.data.epoch_sizes import EpochSizes


class EpochLoader:
    """Yields the batches of one epoch at a time; a subclass makes batch `index` of `epoch` from these two alone.

    Its state is the epoch and the number of batches handed out, so a run that is taken up again sees exactly the
    batches it has not seen. `sizes` counts what there is of everything.
    """

    def __init__(self, sizes: EpochSizes) -> None:
        self.sizes = sizes
        self.epoch = self.batches_done = 0

    @abstractmethod
    def batch(self, epoch: int, index: int) -> Any:
        """Batch `index` of `epoch` for this process: a NamedTuple of tensors with one row an example."""

    def __len__(self) -> int:
        return self.sizes.all_batches

    @property
    def batches(self) -> int:
        """Batches that an epoch hands out, `limit` counted."""
        return self.sizes.batches

    def __iter__(self) -> Iterator[Any]:
        last = self.batches
        while self.batches_done < last:
            epoch, index = self.epoch, self.batches_done
            # Count before handing out: Lightning does not ask again after the last batch.
            self.batches_done += 1
            if self.batches_done == last:
                self.epoch, self.batches_done = epoch + 1, 0
            yield self.batch(epoch, index)
            if self.batches_done == 0:
                return

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch, and the batches handed out in it."""
        return {"epoch": self.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a `state_dict`."""
        self.epoch, self.batches_done = state["epoch"], state["batches_done"]
