"""The Lightning Trainer, with validations counted in optimizer updates."""

import math
import os
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from frontpage.command.errors import UserError, bad_value, require
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.precision import settle_precision
from frontpage.runs.checkpoint_file import CheckpointFile


class ValidationSchedule(_TrainingEpochLoop):
    """Lightning's loop over an epoch, with another answer to one question: is it time to validate?

    After the first update if asked for, after every `interval` updates (null: `evals_per_epoch` times an epoch, as
    the original exercise counts them), and at the end of the run, however it ends.

    An update is complete behind its validation. Then callbacks that have an `on_update_end(trainer, pl_module)` hear
    of it: what they save is continued with the next update. Lightning's own hooks come too early for that: within an
    accumulation, before the step is logged, before the validation that is due. A checkpoint from within a validation
    is continued with that validation, from its start.
    """

    def __init__(self, trainer: L.Trainer, interval: int | None, evals_per_epoch: int, first_step: bool) -> None:
        old = trainer.fit_loop.epoch_loop
        super().__init__(trainer, min_steps=old.min_steps, max_steps=old.max_steps)
        self.interval, self.evals_per_epoch, self.first_step = interval, evals_per_epoch, first_step
        self._validate_again = False

    @property
    def done(self) -> bool:
        """Whether to leave the epoch: never within an update."""
        return not self._should_accumulate() and super().done

    @property
    def _is_validation_done(self) -> bool:
        return not (self.restarting and self._validate_again)

    def run(self, data_fetcher: Any) -> None:
        """One epoch, or what is left of it after a resume, be it nothing."""
        super().run(data_fetcher)
        self.on_iteration_done()  # the next epoch is no resumed one

    def reset(self) -> None:
        """Start an epoch; a resumed one with the counter that loggers use for steps where it was."""
        restarting = self.restarting
        super().reset()
        if restarting:
            self._batches_that_stepped = self.global_step - self._validate_again

    def advance(self, data_fetcher: Any) -> None:
        """One batch, or after a resume the validation that was broken off."""
        if self.restarting:
            self._restarting = self.val_loop.restarting = False  # Lightning guesses at what is to be done again
            if self._validate_again:
                return
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validate if it is time; then the update is complete."""
        super().on_advance_end(data_fetcher)
        self._validate_again = False
        if not self._should_accumulate():
            for callback in self.trainer.callbacks:
                if hasattr(callback, "on_update_end"):
                    callback.on_update_end(self.trainer, self.trainer.lightning_module)

    def on_save_checkpoint(self) -> dict[str, Any]:
        """Lightning's own, and whether the update's validation is under way."""
        batches = self.val_loop.batch_progress.current.completed
        under_way = self.trainer.validating and batches < sum(self.val_loop.max_batches)
        return super().on_save_checkpoint() | {"validate_again": under_way}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take that back."""
        super().on_load_checkpoint(state_dict)
        self._validate_again = state_dict.get("validate_again", False)

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        trainer = self.trainer
        if self._should_accumulate():
            return False
        step, interval = trainer.global_step, self._interval()
        first = self.first_step and step == 1
        return first or step % interval == 0 or trainer.should_stop or step >= trainer.lightning_module.total_steps

    def validations_left(self, after: int) -> int:
        """How many validations come later than update `after` if the run goes on to its last update."""
        last = self.trainer.lightning_module.total_steps
        interval = self._interval()
        return last // interval - after // interval + (last % interval != 0 and after < last)

    def _interval(self) -> int:
        """Updates between validations."""
        return self.interval or max(updates_per_epoch(self.trainer) // self.evals_per_epoch, 1)


def make_trainer(
    *,
    accelerator: str,
    devices: int | str | list[int],
    strategy: str,
    precision: str | int,
    max_epochs: int | None,
    max_steps: int | None,
    max_time: str | dict[str, int] | None,
    accumulate_grad_batches: int,
    fit_batch: bool,
    keep_memory: bool,
    gradient_clip_val: float | None,
    evals_per_epoch: int,
    val_interval: int | None,
    validate_first_step: bool,
    log_interval: int | None,
    limit_train_batches: int | float,
    limit_val_batches: float,
    partial_validation: bool,
    overfit_batches: int | float,
    detect_anomaly: bool,
    profiler: str | None,
    deterministic: bool | None,
    default_root_dir: str,
    callbacks: list[L.Callback],
    logger: list[Any],
) -> L.Trainer:
    """A Trainer that says which device it took; raises UserError for what this machine or the rules do not allow.

    `val_interval`, `log_interval` count optimizer updates; `limit_val_batches` is a share of the validation set.
    `fit_batch` is for whoever knows the model; here it is kept as an attribute. `keep_memory`: a CPU's, of tensors that
    are gone.
    """
    if max_epochs is None and max_steps in (None, -1):
        raise UserError("trainer.max_epochs=null and trainer.max_steps=null: a run needs one of them to end")
    require(evals_per_epoch >= 1, "trainer.evals_per_epoch", evals_per_epoch, "a whole number of at least 1")
    require(accumulate_grad_batches >= 1, "trainer.accumulate_grad_batches", accumulate_grad_batches, "at least 1")
    require(val_interval is None or val_interval >= 1, "val_interval", val_interval, "updates, at least 1, or null")
    require(log_interval is None or log_interval >= 1, "log_interval", log_interval, "updates, at least 1, or null")
    if not (limit_val_batches == 1 or (partial_validation and 0 <= limit_val_batches < 1)):
        allowed = "1, since a run validates on the whole validation set; a share from 0 to 1 under debug= only"
        raise bad_value("trainer.limit_val_batches", limit_val_batches, allowed)
    chosen = find_accelerator(accelerator)
    check_devices(devices, chosen)
    precision = settle_precision(precision, chosen, default_root_dir)
    if chosen == "cpu":
        keep_freed_memory(large=keep_memory)
    try:
        trainer = L.Trainer(
            accelerator=chosen,
            devices=devices,
            strategy=strategy,
            precision=precision,
            max_epochs=max_epochs,
            max_steps=-1 if max_steps is None else max_steps,
            max_time=max_time,
            accumulate_grad_batches=accumulate_grad_batches,
            gradient_clip_val=gradient_clip_val,
            log_every_n_steps=log_interval or 0,
            limit_train_batches=limit_train_batches,
            limit_val_batches=float(limit_val_batches),
            overfit_batches=overfit_batches,
            detect_anomaly=detect_anomaly,
            profiler=_profiler(profiler, default_root_dir),
            deterministic=deterministic,
            default_root_dir=default_root_dir,
            callbacks=callbacks,
            plugins=[CheckpointFile()],
            logger=logger or False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, L.pytorch.callbacks.Checkpoint) for callback in callbacks),
        )
    except (ValueError, TypeError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise UserError(f"trainer: {error}") from error
    # Lightning would only note a SIGTERM, and end the run as a success; ours raises as for Ctrl-C.
    trainer._signal_connector._sigterm_notifier_fn = lambda number, frame: None
    trainer.fit_batch = fit_batch
    trainer.fit_loop.epoch_loop = ValidationSchedule(trainer, val_interval, evals_per_epoch, validate_first_step)
    return trainer


def _profiler(name: str | None, directory: str) -> Profiler | None:
    """A profiler that writes `fit-profile.txt` to the run's directory; null for none, UserError for an unknown one."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    if name is None:
        return None
    require(name in kinds, "trainer.profiler", name, f"one of {' '.join(kinds)}, or null")
    return kinds[name](dirpath=directory, filename="profile")


def updates_per_epoch(trainer: L.Trainer, data: L.LightningDataModule | None = None) -> int:
    """Optimizer updates of an epoch; `data` is needed where the trainer does not know it yet."""
    return (data or trainer.datamodule).epoch_sizes(trainer).updates


def planned_steps(trainer: L.Trainer, data: L.LightningDataModule | None = None) -> int:
    """Optimizer updates of the whole run, as far as epochs and `max_steps` bound it; `data` is needed before the fit.

    Lightning's `estimated_stepping_batches` says the same, but asking it before a checkpoint is loaded makes Lightning
    forget where in the epoch the data stood.
    """
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
    steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
    return int(min(updates_per_epoch(trainer, data) * epochs, steps))


def find_accelerator(asked: str, key: str = "trainer.accelerator") -> str:
    """The accelerator in Lightning's words; `auto` is resolved and said, a missing device is refused, naming `key`."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    wanted = {"gpu": ("cuda", "mps")}.get(asked, (asked,))
    found = [name for name in wanted if there.get(name)]
    if not found:
        names = " ".join(name for name, present in there.items() if present)
        raise bad_value(key, asked, f"this machine has: auto {names}")
    return found[0]


def check_devices(devices: int | str | list[int], accelerator: str) -> None:
    """Raise a UserError for more devices than this machine has: GPUs, or on a CPU processes, one a core at most."""
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, os.cpu_count() or 1)
    asked = int(devices) if str(devices).isdigit() else len(devices) if isinstance(devices, list) else 1
    allowed = f"this machine has {there} {'cores' if accelerator == 'cpu' else 'GPUs'}; at most so many processes"
    require(asked <= there, "trainer.devices", devices, allowed)


def device_name(trainer: L.Trainer) -> str:
    """The device that a trainer uses, for people: `cuda (NVIDIA H200)`, `cpu (2 threads)`."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
