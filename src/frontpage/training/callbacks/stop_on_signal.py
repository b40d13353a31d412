"""StopOnSignal: Ctrl-C, SIGTERM and a closed terminal end a run between two steps, with a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L

from frontpage.command.endings import Interrupted
from frontpage.command.first_moment import SIGNALS
from frontpage.command.process_family import is_helper


class StopOnSignal(L.Callback):
    """The first signal lets the step finish and raises Interrupted; a second one stops at once, without a checkpoint.

    Several processes stop behind the same update. Before and behind the steps a signal does what it always does.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over (Lightning has taken SIGTERM by now)."""
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup: go on without it
                    self._before[number] = signal.signal(number, self._ask)

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop here if asked: weights, optimizer, data and metrics agree."""
        self._stop_if_asked(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do not wait for a long validation; several processes do, for they have different numbers of batches."""
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back before Lightning does with its own."""
        self.give_back()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give them back; but where a run stops, the checkpoint is saved first: this process's signal may come yet."""
        if not isinstance(exception, Interrupted):
            self.give_back()

    def give_back(self) -> None:
        """Give back those that nobody else has taken since: a handler left behind holds the run in memory."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._ask:
                signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt("stopped by a signal, at once")
        self._asked = True
        if not is_helper():
            print("\nstopping after this step; once more to stop at once", flush=True)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            raise Interrupted(f"stopped by a signal at update {trainer.global_step}")


@contextmanager
def signals_given_back(trainer: L.Trainer) -> Iterator[None]:
    """Give back what a StopOnSignal has kept until the checkpoint of a run that stopped was saved."""
    try:
        yield
    finally:
        for callback in trainer.callbacks:
            if isinstance(callback, StopOnSignal):
                callback.give_back()
