"""StopOnDivergence: a loss that is not a number ends the run at once."""

import math
from typing import Any

import lightning as L


class DivergenceError(RuntimeError):
    """The loss is not finite; nothing that follows could be trusted."""


class StopOnDivergence(L.Callback):
    """Raises DivergenceError when a training or validation loss is not finite.

    On the CPU every step is looked at; elsewhere only logging steps, since looking waits for the device.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the training loss."""
        if pl_module.device.type == "cpu" or trainer._logger_connector.should_update_logs:
            self._check(float(pl_module.loss), "train/loss", trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the validation loss."""
        self._check(pl_module.metrics["val/loss"], "val/loss", trainer)

    def _check(self, loss: float, name: str, trainer: L.Trainer) -> None:
        if not math.isfinite(loss):
            rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
            raise DivergenceError(
                f"{name} is {loss} at update {trainer.global_step} (learning rate {rate:.3g}): the run diverged;"
                " try a lower optimizer.lr, a longer scheduler.warmup or trainer.gradient_clip_val"
            )
