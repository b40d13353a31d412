"""Progress: one bar for the whole run, with the time left."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from tqdm import tqdm

from frontpage.command.limits import Amount, Count
from frontpage.machine.peak_memory import GIB, current_memory
from frontpage.recipe.steps import sizes_now
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.callbacks.since_line import SinceLine
from frontpage.training.callbacks.time_left import TimeLeft

BAR = "{n_fmt}/{total_fmt} |{bar:10}| {desc}"  # cut at the terminal's width: what is wanted first stands first


class Progress(L.Callback):
    """A bar over all optimizer updates of the run; where stdout is no terminal, a line every `seconds`.

    With `every`, a line after so many updates instead. Its loss is the mean over all targets since the line before (of
    the first process), its rates are those since then, validations left out. The time left follows from the pace of
    this session, with the validations and checkpoints still to come (see TimeLeft).
    """

    def __init__(self, seconds: Amount = 20.0, every: Count | None = None) -> None:
        self.seconds, self.every = seconds, every
        self._bar: tqdm | None = None
        self._since, self._time_left = SinceLine(), TimeLeft()
        self._line_at, self._step, self._validated_at, self._saved_at = 0.0, 0, 0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the run stands."""
        self._step, self._time_left = trainer.global_step, TimeLeft()
        self._begin_line(trainer)
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = tqdm(
                total=pl_module.total_steps,
                initial=trainer.global_step,
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format=BAR,
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on, in the first process; losses are read from the device where they are shown only."""
        if not trainer.is_global_zero:
            return
        sizes = sizes_now(trainer)
        targets = 1 if sizes is None else sizes.targets_of(batch_idx, trainer.global_rank)
        self._since.batch_done(targets, pl_module.newest_task)
        if trainer.global_step == self._step:  # between the batches that one update accumulates
            return
        self._step = trainer.global_step
        self._since.update_done(pl_module.loss)
        self._time_left.update_done()
        if self._bar is not None:
            self._bar.n = trainer.global_step
            if self._due(trainer, trainer._logger_connector.should_update_logs):
                numbers, time_left = self._status(trainer, pl_module)
                self._bar.set_description_str(f"{time_left}, {numbers}", refresh=False)
            self._bar.refresh()
        elif self._due(trainer, time.perf_counter() - self._line_at > self.seconds):
            status = " ".join(self._status(trainer, pl_module))
            print(f"[{trainer.global_step:>5}/{pl_module.total_steps}] training: {status}", flush=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What follows until the next update is the cost of a validation."""
        self._time_left.validated()
        self._validated_at = trainer.global_step

    def on_saved(self, trainer: L.Trainer, seconds: float) -> None:
        """A checkpoint has been written, or was tried to be."""
        self._time_left.saved(seconds)
        self._saved_at = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is printed."""
        self.on_train_end(trainer, pl_module)

    def _due(self, trainer: L.Trainer, otherwise: bool) -> bool:
        """Whether an update that is done is shown."""
        return otherwise if self.every is None else trainer.global_step % self.every == 0

    def _begin_line(self, trainer: L.Trainer) -> None:
        clock = clock_of(trainer)
        self._since = SinceLine(trainer.global_step, clock.tokens_seen, clock.training_seconds)
        self._line_at = time.perf_counter()

    def _status(self, trainer: L.Trainer, pl_module: L.LightningModule) -> tuple[str, str]:
        """What is shown of the updates since the last time, and how far the run is; the next line begins here."""
        since, clock, step = self._since, clock_of(trainer), trainer.global_step
        updates, tokens = since.rates(step, clock.tokens_seen, clock.training_seconds)
        tasks = since.tasks if len(since.tasks) > 1 else {}
        parts = [f"loss={since.loss:.4f}", *(f"{name}={loss:.4f}" for name, loss in tasks.items())]
        parts.append(f"lr={trainer.optimizers[0].param_groups[0]['lr']:.3g}")
        if pl_module.grad_norm is not None:
            parts.append(f"norm={float(pl_module.grad_norm):.3g}")
        if pl_module.device.type == "cuda":
            parts.append(f"{current_memory(pl_module.device) / GIB:.1f} GiB")
        left = self._seconds_left(trainer, pl_module.total_steps)
        shown = "time left not known yet" if left is None else f"{tqdm.format_interval(left)} left"
        share = f"{step / pl_module.total_steps:.0%}"
        self._begin_line(trainer)
        return f"{' '.join(parts)} {updates:.3g} steps/s {tokens:,.0f} tokens/s", f"{share}, {shown}"

    def _seconds_left(self, trainer: L.Trainer, last: int) -> float | None:
        updates = max(last - trainer.global_step, 0)
        left = self._time_left.seconds(updates, *self._events_left(trainer, last))
        limit = next((one.time_remaining() for one in trainer.callbacks if isinstance(one, Timer)), None)
        return min((one for one in (left, limit) if one is not None), default=None)

    def _events_left(self, trainer: L.Trainer, last: int) -> tuple[int, int]:
        """(validations, saved updates): those of later updates, and that of the newest where it has not been yet."""
        validated = trainer.fit_loop.epoch_loop.due(last)
        saved = [one.saves(validated) for one in trainer.callbacks if isinstance(one, LastCheckpoint)]
        before = trainer.global_step - 1
        saves = sum(one.count(max(self._saved_at, before)) for one in saved)
        return validated.count(max(self._validated_at, before)), saves
