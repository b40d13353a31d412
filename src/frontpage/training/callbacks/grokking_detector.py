"""GrokkingDetector: says when a run generalises all of a sudden, and keeps what the weights were then."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

from frontpage.command.endings import Interrupted
from frontpage.command.errors import BadValue, nearest
from frontpage.command.limits import Amount, AtLeast, Count, OneOf, Positive
from frontpage.command.notices import notice
from frontpage.data.parallel.loader import LM
from frontpage.data.run_data import RunData
from frontpage.evaluation.grokking import GrokkingRule
from frontpage.evaluation.transitions import CANDIDATE, CONFIRMED, REJECTED, Look, Rule
from frontpage.recipe.steps import updates_per_epoch
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checkpoint_file import copied, save
from frontpage.training.callbacks.event_log import EventLog

SMOOTHING = 50  # updates: time constant of the mean training loss
STATES = {CANDIDATE: 1.0, CONFIRMED: 2.0}


class GrokkingDetector(Checkpoint):
    """Watches `monitor` for a sudden lasting change for the better after a plateau (see GrokkingRule).

    A candidate is told, written to `events.jsonl` and kept as `grokking-candidate-<update>.ckpt` in `dirpath`, and so
    is its confirmation; neither file is ever deleted. With `memorized_loss` the mean training loss must have been below
    that where the recent window begins, with `memorized_gap` the validation loss above it by that. `passes` names
    metrics and levels: the update at which each is first reached is told, and between the first two the lag.
    `check` raises UserError, as where the windows hold fewer than `min_points` validations.
    """

    def __init__(
        self,
        monitor: str,
        dirpath: Path | str,
        mode: Annotated[str, OneOf("min", "max")] = "min",
        patience: Count = 1000,
        window: Count = 500,
        threshold: Positive = 0.10,
        plateau_tol: Positive = 0.02,
        z_min: Amount = 3.0,
        confirm: Count = 1000,
        min_points: Annotated[int, AtLeast(2)] = 3,
        memorized_loss: Amount | None = None,
        memorized_gap: float | None = None,
        passes: list | None = None,
    ) -> None:
        self.monitor, self.mode, self.dirpath = monitor, mode, Path(dirpath)
        lengths = (patience, window, threshold, plateau_tol, z_min, confirm, min_points)
        known = {"memorized_loss": memorized_loss, "memorized_gap": memorized_gap}
        self.rule = GrokkingRule(*lengths, higher=mode == "max", **known)
        self.watch = self.rule.watch
        self.passes = _levels(passes or [])
        self.reached: dict[str, int] = {}
        self.found: list[int] = []  # updates of confirmed candidates
        self.due: str | None = None  # what this update's checkpoint is kept as
        self._trained: Tensor | None = None  # mean training loss

    def check(self, trainer: L.Trainer, data: RunData, module: TrainingModule, updates: int) -> None:
        """Raise a UserError where validations are too rare, or a metric of `passes` is none of the run's.

        A run of fewer `updates` than both windows together sees nothing, which a notice says.
        """
        known = module.monitored_names()
        for name in self.passes:
            if name not in known:
                raise BadValue("callbacks.grokking.passes", name, f"one of {' '.join(known)}{nearest(name, known)}")
        check_windows("callbacks.grokking", self.watch.rule, trainer, data, updates)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make up for a file that a kill has left out."""
        path = self.due and self._path(trainer)
        if path and trainer.is_global_zero and trainer.ckpt_path and not path.exists():
            copied(Path(trainer.ckpt_path), path)
        self.due = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average the training loss, without waiting for it: of what the validation's loss is of."""
        loss = _comparable(trainer, pl_module)
        if loss is None:
            return
        loss = torch.as_tensor(loss).detach().float()
        self._trained = loss if self._trained is None else self._trained + (loss - self._trained) / SMOOTHING

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the validation in, log what the windows show, and tell of a verdict."""
        if trainer.state.fn != "fit":
            return
        known, step = pl_module.metrics, trainer.global_step
        if known.get(self.monitor) is None:
            names = " ".join(sorted(name for name, value in known.items() if value is not None))
            raise BadValue("callbacks.grokking.monitor", self.monitor, names)
        self._join(trainer, pl_module)
        trained = float("nan") if self._trained is None else float(self._trained)
        loss = known[pl_module.losses[0]]
        verdict = self.rule.observe(step, float(known[self.monitor]), trained, loss)
        self._log(trainer, verdict, loss - trained)
        if verdict in (CANDIDATE, CONFIRMED):
            self.due = f"{verdict}-{step:06d}"
        if verdict is not None:
            self._tell(trainer, verdict)
        self._pass(trainer, known)

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the complete update; LastCheckpoint, which stands before, has saved that it is due."""
        self._save(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep a mean that is of all processes: Lightning has asked each for its `state_dict` before."""
        self._join(trainer, pl_module)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def _join(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give each process the mean over all, which its further terms change as they change its own."""
        if self._trained is not None and trainer.world_size > 1:  # in all processes, or in none
            self._trained = trainer.strategy.reduce(self._trained.to(pl_module.device).clone(), reduce_op="mean")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keep what is due before a stop."""
        if isinstance(exception, Exception | Interrupted):
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what was found in all."""
        if trainer.is_global_zero:
            updates = ", ".join(f"{step:,}" for step in self.found)
            said = f"changed at update {updates}" if updates else "was not seen to change"
            pending = self.watch.candidate
            more = f"; the run ended before the candidate of update {pending.step:,} was judged" if pending else ""
            tqdm.write(f"grokking: {self.monitor} {said}{more}")

    def state_dict(self) -> dict[str, Any]:
        """The windows, the candidate, what was reached, and what is due."""
        return {
            **self.rule.state_dict(),
            "reached": self.reached,
            "found": self.found,
            "due": self.due,
            "trained": None if self._trained is None else self._trained.cpu(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.rule.load_state_dict(state_dict)
        self.reached, self.found, self.due = state_dict["reached"], state_dict["found"], state_dict["due"]
        self._trained = state_dict["trained"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the mean where the loss is."""
        if self._trained is not None:
            self._trained = self._trained.to(pl_module.device)

    def _log(self, trainer: L.Trainer, verdict: str | None, gap: float) -> None:
        look: Look = self.watch.look
        state = STATES.get(verdict, 0.0)
        values = {
            "grokking/drop": look.drop,
            "grokking/z": look.z,
            "grokking/plateau_slope": look.slope,
            "grokking/state": 1.0 if state == 0 and self.watch.candidate else state,
            "grokking/gap": gap,
        }
        trainer._logger_connector.log_metrics({name: value for name, value in values.items() if value is not None})

    def _tell(self, trainer: L.Trainer, verdict: str) -> None:
        look, step = self.watch.look, trainer.global_step
        began = self.watch.candidate or self.watch.judged
        if verdict == CONFIRMED:
            self.found.append(began.step)
        said = f"{self.monitor} went from {began.baseline:.4f} to {look.recent:.4f}"
        words = {
            CANDIDATE: f"a candidate at update {step:,}: {said}, {look.z:.1f} deviations",
            CONFIRMED: f"confirmed, the candidate of update {began.step:,}: {said}",
            REJECTED: f"no, the candidate of update {began.step:,} did not last: {said}",
        }
        if trainer.is_global_zero:
            tqdm.write(f"grokking: {words[verdict]}")
        fields = {"baseline": began.baseline, "recent": look.recent, "drop": look.drop, "z": look.z}
        self._event(trainer, f"grokking_{verdict}", monitor=self.monitor, candidate=began.step, **fields)

    def _pass(self, trainer: L.Trainer, known: dict[str, float | None]) -> None:
        """Remember when each level was reached first, and tell the lag once both were."""
        new = [
            name
            for name, level in self.passes.items()
            if name not in self.reached and known.get(name) is not None and known[name] >= level
        ]
        for name in new:
            self.reached[name] = trainer.global_step
            self._event(trainer, "grokking_passed", metric=name, level=self.passes[name])
        if new and len(self.passes) > 1 and len(self.reached) == len(self.passes):
            first, second = list(self.passes)[:2]
            lag = self.reached[second] - self.reached[first]
            self._event(trainer, "grokking_lag", updates=lag, reached=self.reached)
            if trainer.is_global_zero:
                levels = [f"{name} {self.passes[name]:g}" for name in (first, second)]
                tqdm.write(f"grokking: {levels[1]} came {lag:,} updates after {levels[0]}")

    def _event(self, trainer: L.Trainer, event: str, **fields: Any) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, EventLog):
                callback.write(trainer, event, step=trainer.global_step, **fields)

    def _path(self, trainer: L.Trainer) -> Path:
        return self.dirpath / f"grokking-{self.due}.ckpt"

    def _save(self, trainer: L.Trainer) -> None:
        if self.due:
            path, self.due = self._path(trainer), None
            save(trainer, path)


def check_windows(key: str, rule: Rule, trainer: L.Trainer, data: RunData, updates: int) -> None:
    """Raise a UserError where validations are too rare for a rule's windows; a notice where the run is too short."""
    schedule = trainer.fit_loop.epoch_loop
    interval = schedule.interval or max(updates_per_epoch(trainer, data) // schedule.evals_per_epoch, 1)
    for name, length in (("window", rule.window), ("patience", rule.patience)):
        if interval * rule.min_points > length:
            allowed = f"at least {interval * rule.min_points}: {rule.min_points} validations, one in {interval}"
            raise BadValue(f"{key}.{name}", length, f"{allowed} updates; or a smaller val_interval")
    if updates < rule.window + rule.patience:
        needed = f"window and patience, {rule.window + rule.patience} updates"
        said = f"{key}.window={rule.window}: the run has {updates} updates and not {needed}"
        notice(f"{said}, so no change can be seen")


def _levels(passes: Sequence[Any]) -> dict[str, float]:
    """By metric the level that it is to pass."""
    for one in passes:
        pair = isinstance(one, Sequence) and len(one) == 2 and isinstance(one[0], str)
        if not pair or isinstance(one[1], bool) or not isinstance(one[1], int | float):
            raise ValueError(f"passes={one}: [metric, level], such as [val/accuracy, 0.9]")
    return {metric: float(level) for metric, level in passes}


def _comparable(trainer: L.Trainer, module: TrainingModule) -> Tensor | float | None:
    """The newest training loss of what the validation's is of; None where this micro-batch has none, or ends no update.

    With techniques the nats of the next token, with several tasks the language task's own, unscaled, where it is one of
    them.
    """
    techniques, tasks = getattr(module, "techniques", None), getattr(module, "tasks", {})
    if not techniques and LM in tasks and len(tasks) > 1:
        name, loss = module.newest_task
        return loss if name == LM else None
    if trainer.fit_loop._should_accumulate():
        return None
    return module.next_token_loss if techniques else module.loss
