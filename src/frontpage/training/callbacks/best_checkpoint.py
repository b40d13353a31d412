"""BestCheckpoint: the checkpoints of the best validations; `best.ckpt` is always the best."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from frontpage.command.endings import Interrupted
from frontpage.command.errors import BadValue
from frontpage.command.limits import Matching
from frontpage.command.notices import notice
from frontpage.runs.checked_file import sync_folder
from frontpage.runs.checkpoint_file import copied, linked, save, update_of
from frontpage.runs.structure import unlike

ALL = -1
OLD_STATE = "BestCheckpoint{"  # how the key began under which Lightning's ModelCheckpoint kept the state
FILE_NAME = Matching("[^/]*", "a file's name without / and without its ending")


class Kept(NamedTuple):
    """A checkpoint that is among the best."""

    score: float
    update: int


class BestCheckpoint(Checkpoint):
    """Keeps the checkpoints of the `save_top_k` best validations by `monitor`: -1 all of them, 0 none.

    With 1 there is `best.ckpt` alone. With more each has its own name, `best-update-000040.ckpt`, and `best.ckpt` is
    another name of the best one, a link that takes no room. Of equal scores the newest is the best, as in `run.json`.

    A file is written when its update is complete and `LastCheckpoint`, which stands before this callback, has saved
    the run with the new list; so a run that is killed in between knows its list, and makes up for what is missing.
    Raises ValueError.
    """

    def __init__(
        self,
        dirpath: Path | str,
        monitor: str,
        filename: Annotated[str, FILE_NAME] = "best",
        mode: str = "min",
        save_top_k: int = 1,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode={mode}: min or max")
        if save_top_k < ALL:
            raise ValueError(f"save_top_k={save_top_k}: how many are kept, or {ALL} for all")
        if not filename or Path(filename).name != filename:
            raise ValueError(f"filename={filename}: the name of a file, without a folder and without .ckpt")
        self.dirpath, self.monitor, self.filename = Path(dirpath), monitor, filename
        self.mode, self.save_top_k = mode, save_top_k
        self.kept: list[Kept] = []  # the best first
        self.due = False  # whether this update's checkpoint is among them and has to be written
        self.missed: int | None = None  # the update of the best validation, where the disk had no room for it
        self._before: list[Kept] = []  # the list without this update's
        self._resumed = False

    @property
    def best(self) -> Path:
        """The file of the best."""
        return self.dirpath / f"{self.filename}.ckpt"

    def path_of(self, update: int) -> Path:
        """The file of one of the best."""
        return self.best if self.save_top_k == 1 else self.dirpath / f"{self.filename}-update-{update:06d}.ckpt"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide; what is written is the complete update."""
        if trainer.state.fn != "fit" or self.save_top_k == 0:
            return
        known = trainer.callback_metrics | pl_module.metrics
        names = " ".join(sorted(name for name, value in known.items() if value is not None))
        if known.get(self.monitor) is None:
            raise BadValue("callbacks.best_checkpoint.monitor", self.monitor, names)
        score, update = float(known[self.monitor]), trainer.global_step
        if not math.isfinite(score):
            notice(f"{self.monitor} is {score} at update {update}: this validation is not among the best")
            return
        self._before = [one for one in self.kept if one.update != update]
        self.kept = self._best_of([*self._before, Kept(score, update)])
        self.due = any(one.update == update for one in self.kept)

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is due."""
        self._write(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write what is due before a stop; not behind a second signal, which wants none."""
        if isinstance(exception, Exception | Interrupted):
            self._write(trainer)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over what Lightning's ModelCheckpoint kept in older runs, which had one file for all."""
        old = [state for key, state in checkpoint["callbacks"].items() if str(key).startswith(OLD_STATE)]
        update = update_of(self.best) if old else None
        if update is not None and update <= checkpoint["global_step"] and old[0]["best_model_score"] is not None:
            self.kept, self._resumed = [Kept(float(old[0]["best_model_score"]), update)], True

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"kept": [[one.score, one.update] for one in self.kept], "missed": self.missed}

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """What of a checkpoint's state is no list of scores and updates."""
        yield from unlike(saved, {"kept": [], "missed": None}, where)
        kept = saved.get("kept") if isinstance(saved, dict) else None
        for index, one in enumerate(kept if isinstance(kept, list) else []):
            yield from unlike(one, [0.0, 0], f"{where}.kept.{index}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's, as far as its files are there when training starts."""
        self.kept = [Kept(float(score), int(update)) for score, update in state_dict["kept"]]
        self.missed, self._resumed = state_dict["missed"], True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the files and the list agree again, whatever a kill, a move or another `save_top_k` has left."""
        if not self._resumed or self.save_top_k == 0:
            return
        kept = self._settle(trainer.global_step, trainer.ckpt_path) if trainer.is_global_zero else None
        self.kept, self._resumed = trainer.strategy.broadcast(kept), False

    def _best_of(self, kept: list[Kept]) -> list[Kept]:
        sign = 1 if self.mode == "min" else -1
        ranked = sorted(kept, key=lambda one: (sign * one.score, -one.update))
        return ranked if self.save_top_k == ALL else ranked[: self.save_top_k]

    def _write(self, trainer: L.Trainer) -> None:
        if not self.due:
            return
        self.due, update = False, trainer.global_step
        newest_is_best = self.kept[0].update == update
        if not save(trainer, self.path_of(update)):
            self.kept = self._before
            self.missed = update if newest_is_best else self.missed
            return
        self.missed = None if newest_is_best else self.missed
        if trainer.is_global_zero:
            self._tidy({one.update for one in self._before if one not in self.kept})

    def _settle(self, update: int, continued: Path | str | None) -> list[Kept]:
        """The list as far as its files are there; that of `update` itself is made from the checkpoint `continued`."""
        earlier, self.kept = self.kept, self._best_of(self.kept)
        best_update, lost = update_of(self.best), []
        for one in self.kept:
            path = self.path_of(one.update)
            if (best_update if path == self.best else update_of(path)) == one.update:
                continue
            if best_update == one.update and linked(self.best, path):
                continue
            if one.update == update and continued and copied(Path(continued), path):
                continue
            there = continued and Path(continued).parent / path.name  # of a run that goes on in another folder
            if there and update_of(there) == one.update and copied(there, path):
                continue
            lost.append(one)
        if lost:
            updates = ", ".join(str(one.update) for one in sorted(lost, key=lambda one: one.update))
            notice(
                f"{self.dirpath} does not hold the best checkpoint{'s' if len(lost) > 1 else ''} of update {updates}:"
                " the best are looked for without"
            )
        dropped = {one.update for one in earlier if one not in self.kept}
        in_place = continued and Path(continued).parent.absolute() == self.dirpath.absolute()
        if in_place and self.save_top_k != ALL:
            # Of those that a kill has left, no longer among the best; none of a folder that others may write to.
            left = {_update_in(path) for path in self.dirpath.glob(f"{self.filename}-update-*.ckpt")}
            dropped |= {one for one in left if 0 <= one <= update} - {one.update for one in self.kept}
        self.kept = [one for one in self.kept if one not in lost]
        self._tidy(dropped)
        return self.kept

    def _tidy(self, dropped: set[int]) -> None:
        """Let `best.ckpt` name the best, then remove what is not among the best any more."""
        if self.save_top_k == 1 or not self.kept:
            return  # there is one file, and no other name for it
        if linked(self.path_of(self.kept[0].update), self.best):
            for update in dropped:
                self.path_of(update).unlink(missing_ok=True)
        sync_folder(self.dirpath)


def kept_best(trainer: L.Trainer) -> BestCheckpoint | None:
    """What keeps the best weights of a run, if anything does."""
    kept = (one for one in trainer.callbacks if isinstance(one, BestCheckpoint) and one.save_top_k != 0)
    return next(kept, None)


def _update_in(path: Path) -> int:
    """The update that stands in a file's name, -1 where none does."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
