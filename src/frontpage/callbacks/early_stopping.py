"""EarlyStopping: Lightning's, which a resumed run does not forget."""

import lightning as L
from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Ends a run after `patience` validations in a row without a `monitor` better by `min_delta`.

    Lightning keeps the count in checkpoints, but not that the run was to stop.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once where the checkpoint is that of the stop."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
