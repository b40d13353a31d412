"""FinalAverage: the mean of the weights over the last part of a run."""

from typing import Any

import lightning as L
from torch.optim.swa_utils import get_swa_multi_avg_fn

from frontpage.command.errors import BadValue
from frontpage.command.limits import Amount, Count
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.recipe.schedules import updates_of
from frontpage.recipe.steps import updates_per_epoch
from frontpage.training.callbacks.averaged_weights import AveragedWeights


class FinalAverage(AveragedWeights):
    """The plain mean of the weights after every `every`-th update, counted back from the run's last, from `start` on.

    `start` is a number of updates or a share of the run (below 1); `every` None takes those at the end of each epoch,
    and of the run. Before, validations and checkpoints have the weights as trained. Izmailov et al. 2018 (SWA, arXiv
    1803.05407), whose rate rises again each time, and Kaddour 2022 (LAWA, arXiv 2209.14981), which takes the newest
    few. Raises ValueError for a `start` that is no length, UserError (`check`).
    """

    def __init__(self, start: Amount = 0.6, every: Count | None = 10) -> None:
        super().__init__(get_swa_multi_avg_fn())
        self.start, self.every = start, every
        updates_of("start", start, 1)

    def takes(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Those of the chosen updates."""
        return self._chosen(trainer.global_step, pl_module.total_steps, updates_per_epoch(trainer))

    def words(self) -> str:
        """For `run.json`."""
        chosen = "at the end of each epoch" if self.every is None else f"every {self.every} updates"
        return f"mean of those {chosen}, from start={self.start} on"

    def settings(self) -> dict[str, Any]:
        """Which weights it is of."""
        return {"start": self.start, "every": self.every}

    def check(self, trainer: L.Trainer, data: RunData, updates: int) -> None:
        """Raise a UserError, too, where a run of so many `updates` has fewer than two sets of weights to average."""
        super().check(trainer, data, updates)
        per_epoch = updates_per_epoch(trainer, data)
        if sum(self._chosen(update, updates, per_epoch) for update in range(1, updates + 1)) < 2:
            few = f"from there to the end of {updates} updates there are fewer than two sets of weights"
            raise BadValue("callbacks.final_average.start", self.start, f"{few}, {self.words()}; a lower one")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew where a run that goes on is longer than it was, and has not come to its last part again."""
        first = updates_of("start", self.start, pl_module.total_steps)
        if self.averaged and trainer.global_step < first:
            if trainer.is_global_zero:
                notice(f"callbacks.final_average: the run is longer now, and averages anew from update {first} on")
            self.forget()

    def _chosen(self, update: int, updates: int, per_epoch: int) -> bool:
        late = update >= updates_of("start", self.start, updates)
        if self.every is None:
            return late and (update % per_epoch == 0 or update == updates)
        return late and (updates - update) % self.every == 0
