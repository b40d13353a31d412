"""EarlyStopping: Lightning's, which a resumed run does not forget, and whose last validation is complete."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from frontpage.command.errors import BadValue
from frontpage.command.limits import Amount, Count
from frontpage.runs.structure import unlike


class EarlyStopping(callbacks.EarlyStopping):
    """Ends a run after `patience` validations in a row without a `monitor` better by `min_delta`.

    With `patience_updates` it is as many validations as these optimizer updates have, rounded up.

    Lightning keeps the count in checkpoints, but not that the run was to stop; and it decides when a validation is
    over, too late for the metrics that only a run's last one computes. Raises UserError for an unknown `monitor`.
    """

    def __init__(
        self,
        monitor: str,
        min_delta: Amount = 0.0,
        patience: Count = 3,
        patience_updates: Count | None = None,
        **lightning: Any,
    ) -> None:
        if lightning.pop("check_on_train_epoch_end", False):
            raise ValueError("check_on_train_epoch_end=true: false, or leave it out; a validation decides, whole")
        super().__init__(monitor, min_delta, patience, **lightning, check_on_train_epoch_end=False)
        self.patience_updates = patience_updates
        self.stopped_at: float | None = None  # the value of the metric that ended the run

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, and the value that ended the run."""
        return super().state_dict() | {"stopped_at": self.stopped_at}

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """In what a checkpoint's state is none of this callback; older ones do not say what has ended the run."""
        saved = {"stopped_at": None, **saved} if isinstance(saved, Mapping) else saved
        yield from unlike(saved, self.state_dict(), where)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the count, not the patience, which may have changed."""
        super().load_state_dict(state_dict | {"patience": self.patience})
        self.stopped_at = state_dict.get("stopped_at")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the patience in validations, and stop at once where the checkpoint is that of the stop."""
        if self.patience_updates is not None:
            self.patience = math.ceil(self.patience_updates / trainer.fit_loop.epoch_loop.updates_between)
        if self.wait_count >= self.patience or self._would_stop_again():
            trainer.should_stop = True
        else:  # it goes on with more patience than it had, or another threshold
            self.stopping_reason, self.stopping_reason_message = EarlyStoppingReason.NOT_STOPPED, None

    def _would_stop_again(self) -> bool:
        """Whether what a checkpoint's run was stopped by, patience apart, stops it by today's settings as well."""
        if self.stopping_reason in (EarlyStoppingReason.NOT_STOPPED, EarlyStoppingReason.PATIENCE_EXHAUSTED):
            return False
        if self.stopped_at is None:  # an older checkpoint does not say
            return True
        value, least, most = torch.tensor(self.stopped_at), self.stopping_threshold, self.divergence_threshold
        reached = least is not None and bool(self.monitor_op(value, torch.tensor(least)))
        diverged = most is not None and bool(self.monitor_op(-value, -torch.tensor(most)))
        return reached or diverged or (self.check_finite and not math.isfinite(self.stopped_at))

    def on_validated(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide, within the validation; every process has the same metrics."""
        if self._should_skip_check(trainer):
            return
        known = trainer.callback_metrics | pl_module.metrics
        names = " ".join(sorted(name for name, value in known.items() if value is not None))
        if known.get(self.monitor) is None:
            raise BadValue("callbacks.early_stopping.monitor", self.monitor, names)
        stop, reason = self._evaluate_stopping_criteria(torch.as_tensor(known[self.monitor]))
        if stop:
            trainer.should_stop, self.stopping_reason_message = True, reason
            self.stopped_at = float(known[self.monitor])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out Lightning's decision."""
