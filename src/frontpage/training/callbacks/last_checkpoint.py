"""LastCheckpoint: the checkpoint that a run continues from."""

from pathlib import Path
from typing import Annotated

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from frontpage.command.endings import Interrupted
from frontpage.command.limits import AtLeast, Count, Matching
from frontpage.runs.checked_file import sync_folder
from frontpage.runs.checkpoint_file import (
    linked,
    named_update,
    numbered,
    numbered_beside,
    save,
    update_of,
)
from frontpage.training.due import Due


class LastCheckpoint(Checkpoint):
    """Writes `path` every `interval` optimizer updates, or at each validation (null), and at a run's end or stop.

    It writes behind the validation that is due, and keeps the file before as `<name>-1.ckpt`. A validation among the
    best is saved in any case, before `BestCheckpoint` writes its own file.

    Beside it stay the `keep` newest as `step-000040.ckpt` (0: none, and those of an earlier session are let be), and
    for good that of each `milestones` updates as `milestone-000100.ckpt`, an update that is saved in any case. Each is
    another name of the file, a link that takes no room until `path` is of a later update.
    """

    def __init__(
        self,
        path: Annotated[Path | str, Matching(r".*[^/]\.ckpt", "a file whose name ends in .ckpt")],
        interval: Count | None = None,
        keep: Annotated[int, AtLeast(0)] = 0,
        milestones: Count | None = None,
    ) -> None:
        self.path, self.interval, self.keep, self.milestones = Path(path), interval, keep, milestones
        self._validated, self._saved_step = False, -1

    @property
    def before(self) -> Path:
        """The file before the newest."""
        return self.path.with_name(f"{self.path.stem}-1{self.path.suffix}")

    def saves(self, validated: Due) -> Due:
        """The updates that are saved of a run, by those that are validated; beside them are some of the best."""
        by_interval = validated if self.interval is None else Due(frozenset({self.interval}), validated.last)
        milestones = frozenset({self.milestones} if self.milestones else ())
        return Due(by_interval.periods | milestones, validated.last, by_interval.single)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make up for what a kill has left undone; a run continued from elsewhere begins with none."""
        continued = trainer.ckpt_path
        if continued and Path(continued).parent.absolute() == self.path.parent.absolute():
            self._rotate(trainer, Path(continued))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember it: other callbacks have not seen it yet."""
        self._validated = True

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after every `interval` updates or after a validation, and at the end."""
        step = trainer.global_step
        due = self._validated if self.interval is None else step % self.interval == 0
        due = due or self._is_milestone(step)
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
        if save(trainer, self.path, before=self.before):
            self._saved_step = trainer.global_step
            self._rotate(trainer, self.path)

    def _is_milestone(self, update: int) -> bool:
        return self.milestones is not None and update > 0 and update % self.milestones == 0

    def _rotate(self, trainer: L.Trainer, source: Path) -> None:
        """Keep `source`, which is of this update; of the rolling ones, remove all but the newest up to here.

        A milestone of a later update stays: the run comes there again, and writes the same.
        """
        if not trainer.is_global_zero or not (self.keep or self.milestones):
            return
        update = trainer.global_step
        if self._is_milestone(update):
            linked(source, numbered(self.path, "milestone", update))
        if self.keep:
            linked(source, numbered(self.path, "step", update))
            rolling = numbered_beside(self.path, ["step"])
            kept = [path for path in rolling if named_update(path) <= update][-self.keep :]
            for path in rolling:
                if path not in kept:
                    path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
