"""FinalAverage: the mean of the weights over the last part of a run."""

from collections.abc import Sequence
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
        self._takes: set[int] = set()  # after which updates weights are averaged
        self._loaded: dict[str, Any] | None = None  # what a checkpoint says of its average
        updates_of("start", start, 1)

    def takes(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Those of the chosen updates."""
        return trainer.global_step in self._takes

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
        if len(self._chosen(updates, data.run_sizes(trainer))) < 2:
            few = f"from there to the end of {updates} updates there are fewer than two sets of weights"
            raise BadValue("callbacks.final_average.start", self.start, f"{few}, {self.words()}; a lower one")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew where a run that goes on would not have averaged the weights that it has until now."""
        sizes, now, planned = trainer.datamodule.run_sizes(trainer), trainer.global_step, pl_module.total_steps
        chosen, had = self._chosen(planned, sizes), self._loaded
        self._takes = {*chosen}
        if not self.averaged or had is None:
            return
        before = FinalAverage(had["start"], had["every"])._chosen(had.get("planned", planned), sizes)
        if now < chosen[0] or _until(now, chosen) != _until(now, before):
            if trainer.is_global_zero:
                begins = f"averages anew from update {next((one for one in chosen if one > now), planned)} on"
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

    def _chosen(self, updates: int, sizes: RunSizes) -> list[int]:
        """Those of a run of so many, in order."""
        first = max(updates_of("start", self.start, updates), 1)
        every = sizes.ends(updates) if self.every is None else range(updates, 0, -self.every)
        return sorted(update for update in every if update >= first)


def _until(now: int, updates: Sequence[int]) -> list[int]:
    return [update for update in updates if update <= now]
