"""LastCheckpoint: the checkpoint that a run continues from."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from frontpage.cli import Interrupted


class LastCheckpoint(Checkpoint):
    """Writes `path` every `interval` optimizer updates, or at each validation (null), and at a run's end or stop."""

    def __init__(self, path: Path | str, interval: int | None = None) -> None:
        if interval is not None and interval < 1:
            raise ValueError(f"save_interval={interval}: optimizer updates, at least 1, or null")
        self.path, self.interval = Path(path), interval
        self._saved_step = -1

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after every `interval` updates."""
        step = trainer.global_step
        if self.interval and step % self.interval == 0 and step != self._saved_step:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after a validation, unless an interval is set."""
        if self.interval is None and trainer.state.fn == "fit":
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end."""
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save where a signal stopped the run; after any other error the weights may be broken."""
        if isinstance(exception, Interrupted):
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step
