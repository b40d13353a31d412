"""WeightAverage: an exponential moving average of the weights, which is validated and kept."""

from typing import Any

import lightning as L
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from frontpage.command.limits import ShareBelow1


class WeightAverage(L.Callback):
    """After each update average = decay * average + (1 - decay) * weights; the first average is the first weights.

    Validations, invented titles and the `state_dict` of checkpoints hold the average, training goes on with the
    weights as trained, which checkpoints hold as `current_model_state` (the names that Lightning's own callback
    uses). That one gives the weights back before a module's `on_validation_epoch_end`, where some of our metrics are
    computed, and it cannot be stopped within a validation.
    """

    def __init__(self, decay: ShareBelow1 = 0.99) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None
        self._swapped = False  # whether the net holds the average, and the average the weights as trained
        self._updates = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make room for the average."""
        if stage == "fit":
            self._average = AveragedModel(pl_module.net, multi_avg_fn=get_ema_multi_avg_fn(self.decay))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Follow the net to its device."""
        self._average.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, once an update."""
        if trainer.global_step > self._updates:
            self._average.update_parameters(pl_module.net)
            self._updates = trainer.global_step

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average into the net."""
        if trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the net its own weights back; callbacks that look at the average stand before this one."""
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave a broken validation with the net's own weights."""
        if self._swapped:
            self._swap(pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep both, wherever the net's weights are at the moment."""
        inside = {f"net.{name}": value for name, value in self._average.module.state_dict().items()}
        trained, average = (inside, checkpoint["state_dict"]) if self._swapped else (checkpoint["state_dict"], inside)
        checkpoint["current_model_state"], checkpoint["state_dict"] = trained, average
        checkpoint["averaging_state"] = {"decay": self.decay, "updates": self._updates}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take both back; the net holds `state_dict`, the average, by now."""
        average = {name.removeprefix("net."): value for name, value in checkpoint["state_dict"].items()}
        self._average.module.load_state_dict(average)
        self._updates = checkpoint["averaging_state"]["updates"]
        self._average.n_averaged.fill_(self._updates)
        pl_module.load_state_dict(checkpoint["current_model_state"])

    @torch.no_grad()
    def _swap(self, pl_module: L.LightningModule) -> None:
        for average, trained in zip(self._average.module.parameters(), pl_module.net.parameters(), strict=True):
            kept = average.clone()
            average.copy_(trained)
            trained.copy_(kept)
        self._swapped = not self._swapped
