"""EpochLoader: training batches in an order that depends on (seed, epoch) only, and that can be taken up anywhere."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.run_sizes import RunSizes


class EpochLoader:
    """Yields the batches of one epoch at a time; a subclass makes batch `index` of `epoch` from these two alone.

    Its state is the epoch and the number of batches handed out, so a run that is taken up again sees exactly the
    batches it has not seen. `sizes` counts what there is of everything, in every epoch or in each.
    """

    def __init__(self, sizes: EpochSizes | RunSizes) -> None:
        self.run_sizes = sizes if isinstance(sizes, RunSizes) else RunSizes.same(sizes)
        self.epoch = self.batches_done = 0

    @abstractmethod
    def batch(self, epoch: int, index: int) -> Any:
        """Batch `index` of `epoch` for this process: a NamedTuple of tensors with one row an example."""

    def sizes_of(self, epoch: int) -> EpochSizes:
        """What there is of everything in epoch 0, 1, ..."""
        return self.run_sizes.of(epoch)

    def __len__(self) -> int:
        return self.sizes_of(self.epoch).all_batches

    @property
    def batches(self) -> int:
        """Batches that the epoch where it stands hands out in all, `limit` counted."""
        return self.sizes_of(self.epoch).batches

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
