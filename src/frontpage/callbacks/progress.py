"""Progress: one bar for the whole run, with the time left."""

import sys
import time
from typing import Any

import lightning as L
from tqdm import tqdm

from frontpage.callbacks.run_clock import clock_of


class Progress(L.Callback):
    """A bar over all optimizer updates of the run; where stdout is no terminal, a line every `seconds`.

    The time left follows from the training rate of this session; validation is not in it.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._bar: tqdm | None = None
        self._first_step, self._training_before, self._line_at = 0, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the run stands."""
        self._first_step, self._line_at = trainer.global_step, time.perf_counter()
        self._training_before = clock_of(trainer).training_seconds
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
        if self._bar is not None:
            self._bar.n = trainer.global_step
            if trainer._logger_connector.should_update_logs:
                self._bar.set_postfix_str(self._status(trainer, pl_module, float(pl_module.loss)), refresh=False)
            self._bar.refresh()
        elif trainer.is_global_zero and now - self._line_at > self.seconds:
            self._line_at = now
            status = self._status(trainer, pl_module, float(pl_module.loss))
            print(f"[{trainer.global_step:>5}/{pl_module.total_steps}] training: {status}", flush=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is printed."""
        self.on_train_end(trainer, pl_module)

    def _status(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: float) -> str:
        clock = clock_of(trainer)
        steps = max(trainer.global_step - self._first_step, 1)
        rate = (clock.training_seconds - self._training_before) / steps
        left = tqdm.format_interval(rate * max(pl_module.total_steps - trainer.global_step, 0))
        return f"loss={loss:.4f} {clock.tokens_per_second:,.0f} tokens/s, {left} left"
