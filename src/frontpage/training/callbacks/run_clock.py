"""RunClock: how long a run has trained and how many tokens it has seen, over all its sessions."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L

from frontpage.data.packing import TitleBatch
from frontpage.machine.flops import measure_matmul_peak
from frontpage.machine.precision import product_type
from frontpage.recipe.steps import sizes_now
from frontpage.runs.structure import unlike

ELAPSED = "time/elapsed_seconds"  # beside every metric that is logged


class RunClock(L.Callback):
    """Counts tokens and seconds; the rate leaves validation out. Its state goes into checkpoints.

    Each row that is logged through the trainer, by whatever callback and to whatever logger, has the seconds, too.
    """

    def __init__(self) -> None:
        self.tokens_seen = 0  # targets trained on, over all processes
        self.training_flops = 0.0  # operations of theirs
        self.elapsed_before = self.training_before = 0.0  # seconds of earlier sessions
        self._started: float | None = None
        self.flops_per_token = self.matmul_peak_flops = 0.0  # the peak of one device, known when training starts
        self._phase: tuple[Any, ...] = ()  # of the module, which the operations a token are of
        self._devices = 1
        self._possible_before: float | None = 0.0  # operations that earlier sessions could have done; None: not written
        self._flops_unknown = False  # of earlier sessions, which did not write them down
        self._pauses = 0.0
        self._paused_at: float | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the run's start, validation counted, earlier sessions included."""
        return self.elapsed_before + (time.perf_counter() - self._started if self._started else 0.0)

    @property
    def training_seconds(self) -> float:
        """The same without validation."""
        if self._started is None:
            return self.training_before
        pause = time.perf_counter() - self._paused_at if self._paused_at else 0.0
        return self.training_before + time.perf_counter() - self._started - self._pauses - pause

    @property
    def tokens_per_second(self) -> float:
        """Trained tokens over training seconds."""
        return self.tokens_seen / self.training_seconds if self.tokens_seen else 0.0

    @property
    def model_flops_utilization(self) -> float | None:
        """Operations of the trained tokens over what the devices could have done in the training seconds."""
        if not self.tokens_seen or not self.matmul_peak_flops:
            return None
        return self.training_flops / self.possible_flops

    @property
    def possible_flops(self) -> float:
        """Operations that the devices of each session could have done in its training seconds."""
        this = self.training_seconds - self.training_before
        return self._possible_before + this * self.matmul_peak_flops * self._devices

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have the seconds logged beside every metric: here, so that no callback can forget them."""
        connector = trainer._logger_connector
        connector.log_metrics = partial(self._log, connector.log_metrics)

    def _log(self, log: Callable[..., None], metrics: Mapping[str, Any], step: int | None = None) -> None:
        log({ELAPSED: self.elapsed_seconds, **metrics} if metrics else metrics, step)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure what the device can do, before the time counts."""
        self._count(trainer, pl_module)
        if self._flops_unknown:
            self.training_flops, self._flops_unknown = self.tokens_seen * self.flops_per_token, False
        self.matmul_peak_flops = measure_matmul_peak(pl_module.device, product_type(trainer.precision))
        self._devices = trainer.world_size
        if self._possible_before is None:
            self._possible_before = self.training_before * self.matmul_peak_flops * self._devices

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start counting."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TitleBatch, batch_idx: int
    ) -> None:
        """Count the batch's tokens; its shape is known without asking the device."""
        sizes, read = sizes_now(trainer), getattr(batch, "tokens_read", None)
        if read is not None:  # examples, of which no place is a target; other processes have about as many
            self.tokens_seen += read * trainer.world_size
            self.training_flops += pl_module.flops_of_examples(batch) * trainer.world_size
        else:
            targets = sizes.targets_in(batch_idx) if sizes is not None else batch.targets.numel()
            if pl_module.phase != self._phase:
                self._count(trainer, pl_module)
            self.tokens_seen += targets
            self.training_flops += targets * self.flops_per_token

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pause."""
        self._pause()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on."""
        self._go_on()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what is done inside out of the rate, as a validation is."""
        self._pause()
        try:
            yield
        finally:
            self._go_on()

    def _count(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._phase = pl_module.phase
        self.flops_per_token = pl_module.flops_per_token(trainer.datamodule.block_size)

    def _pause(self) -> None:
        self._paused_at = time.perf_counter()

    def _go_on(self) -> None:
        if self._paused_at is not None:
            self._pauses += time.perf_counter() - self._paused_at
            self._paused_at = None

    def state_dict(self) -> dict[str, Any]:
        """Tokens, operations and seconds so far."""
        return {
            "tokens_seen": self.tokens_seen,
            "training_flops": self.training_flops,
            "elapsed_seconds": self.elapsed_seconds,
            "training_seconds": self.training_seconds,
            "possible_flops": self.possible_flops,
        }

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """In what a checkpoint's state is no state of a clock; in older ones some counts are missing."""
        older = {"training_flops": 0.0, "possible_flops": 0.0} if isinstance(saved, Mapping) else {}
        yield from unlike({**older, **saved} if older else saved, self.state_dict(), where)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's count."""
        self.tokens_seen = state_dict["tokens_seen"]
        self._flops_unknown = "training_flops" not in state_dict
        self.training_flops = state_dict.get("training_flops", 0.0)
        self._possible_before = state_dict.get("possible_flops")
        self.elapsed_before, self.training_before = state_dict["elapsed_seconds"], state_dict["training_seconds"]


def clock_of(trainer: L.Trainer) -> RunClock:
    """The trainer's RunClock."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, RunClock))
