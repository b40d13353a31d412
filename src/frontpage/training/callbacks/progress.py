"""Progress: one bar for the whole run, with the time left."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from tqdm import tqdm

from frontpage.command.limits import Amount
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.callbacks.time_left import TimeLeft


class Progress(L.Callback):
    """A bar over all optimizer updates of the run; where stdout is no terminal, a line every `seconds`.

    The time left follows from the pace of this session, with the validations still to come (see TimeLeft).
    """

    def __init__(self, seconds: Amount = 20.0) -> None:
        self.seconds = seconds
        self._bar: tqdm | None = None
        self._line_at, self._step, self._validated_at, self._time_left = 0.0, 0, 0, TimeLeft()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the run stands."""
        self._line_at, self._step, self._time_left = time.perf_counter(), trainer.global_step, TimeLeft()
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = tqdm(
                total=pl_module.total_steps,
                initial=trainer.global_step,
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format="{n_fmt}/{total_fmt} |{bar}| {postfix}",
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on; the loss is read from the device at logging steps only."""
        now = time.perf_counter()
        if trainer.global_step != self._step:  # not between the batches that one update accumulates
            self._step = trainer.global_step
            self._time_left.update_done()
        if self._bar is not None:
            self._bar.n = trainer.global_step
            if trainer._logger_connector.should_update_logs:
                self._bar.set_postfix_str(self._status(trainer, pl_module, float(pl_module.loss)), refresh=False)
            self._bar.refresh()
        elif trainer.is_global_zero and now - self._line_at > self.seconds:
            self._line_at = now
            status = self._status(trainer, pl_module, float(pl_module.loss))
            print(f"[{trainer.global_step:>5}/{pl_module.total_steps}] training: {status}", flush=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What follows until the next update is the cost of a validation."""
        self._time_left.validated()
        self._validated_at = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is printed."""
        self.on_train_end(trainer, pl_module)

    def _status(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: float) -> str:
        updates = max(pl_module.total_steps - trainer.global_step, 0)
        left = self._time_left.seconds(updates, self._validations_left(trainer))
        limit = next((one.time_remaining() for one in trainer.callbacks if isinstance(one, Timer)), None)
        left = min((one for one in (left, limit) if one is not None), default=None)
        shown = "time left not known yet" if left is None else f"{tqdm.format_interval(left)} left"
        return f"loss={loss:.4f} {clock_of(trainer).tokens_per_second:,.0f} tokens/s, {shown}"

    def _validations_left(self, trainer: L.Trainer) -> int:
        """Those of later updates, and that of the newest update where it is due and has not been."""
        return trainer.fit_loop.epoch_loop.validations_left(max(self._validated_at, trainer.global_step - 1))
