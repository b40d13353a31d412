"""LastCheckpoint: the checkpoint that a run continues from."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from frontpage.command.endings import Interrupted
from frontpage.command.limits import Count
from frontpage.runs.checkpoint_file import save, update_of


class LastCheckpoint(Checkpoint):
    """Writes `path` every `interval` optimizer updates, or at each validation (null), and at a run's end or stop.

    It writes behind the validation that is due, and keeps the file before as `<name>-1.ckpt`. A validation among the
    best is saved in any case, before `BestCheckpoint` writes its own file.
    """

    def __init__(self, path: Path | str, interval: Count | None = None) -> None:
        self.path, self.interval = Path(path), interval
        self._validated, self._saved_step = False, -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember it: other callbacks have not seen it yet."""
        self._validated = True

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after every `interval` updates or after a validation, and at the end."""
        step = trainer.global_step
        due = self._validated if self.interval is None else step % self.interval == 0
        due = due or any(getattr(callback, "due", False) for callback in trainer.callbacks)  # one of the best
        if due or trainer.should_stop or step >= pl_module.total_steps:
            self._save(trainer)
        self._validated = False

    def save_end(self, trainer: L.Trainer) -> None:
        """Save the end where nothing was left to train: `path` may be damaged, or in a folder that has none yet.

        No hook of Lightning's is sure to be called then.
        """
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save where a signal stopped the run; after any other error the weights may be broken."""
        if isinstance(exception, Interrupted):
            self._save(trainer)

    def holds(self, update: int) -> bool:
        """Whether the checkpoint of `update` lies on the disk and reads back."""
        return update_of(self.path) == update

    def _save(self, trainer: L.Trainer) -> None:
        if save(trainer, self.path, before=self.path.with_name(f"{self.path.stem}-1{self.path.suffix}")):
            self._saved_step = trainer.global_step
