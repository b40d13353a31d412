"""FinalAverage: the mean of the weights over the last part of a run."""

from itertools import islice
from typing import Any

import lightning as L
from torch.optim.swa_utils import get_swa_multi_avg_fn

from frontpage.command.errors import BadValue
from frontpage.command.limits import Amount, Count
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import RunSizes
from frontpage.recipe.schedules import updates_of
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
        self._loaded: dict[str, Any] | None = None  # what a checkpoint says of its average
        updates_of("start", start, 1)

    def takes(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Those of the chosen updates."""
        return self._chosen(trainer.global_step, pl_module.total_steps, self._sizes)

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
        sizes = data.run_sizes(trainer)
        chosen = (update for update in range(updates, 0, -1) if self._chosen(update, updates, sizes))
        if len([*islice(chosen, 2)]) < 2:
            few = f"from there to the end of {updates} updates there are fewer than two sets of weights"
            raise BadValue("callbacks.final_average.start", self.start, f"{few}, {self.words()}; a lower one")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew where a run that goes on would not have averaged the weights that it has until now."""
        self._sizes = trainer.datamodule.run_sizes(trainer)
        now, planned, had = trainer.global_step, pl_module.total_steps, self._loaded
        if not self.averaged or had is None:
            return
        first = updates_of("start", self.start, planned)
        before = FinalAverage(had["start"], had["every"])._until(now, had.get("planned", planned), self._sizes)
        if now < first or self._until(now, planned, self._sizes) != before:
            if trainer.is_global_zero:
                begins = f"averages anew from update {max(first, now + 1)} on"
                notice(f"callbacks.final_average: of a run of {planned} updates others are chosen, and it {begins}")
            self.forget()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """With the length of the run, by which updates are chosen."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["averaging_state"]["planned"] = pl_module.total_steps

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """And what was chosen until then."""
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        self._loaded = checkpoint["averaging_state"]

    def _until(self, now: int, planned: int, sizes: RunSizes) -> list[int]:
        return [update for update in range(1, now + 1) if self._chosen(update, planned, sizes)]

    def _chosen(self, update: int, updates: int, sizes: RunSizes) -> bool:
        if update < updates_of("start", self.start, updates):
            return False
        if self.every is not None:
            return (updates - update) % self.every == 0
        epoch, place = sizes.place(update - 1)
        return update == updates or place + 1 == sizes.of(epoch).updates
