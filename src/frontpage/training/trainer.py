"""The Lightning Trainer, with validations counted in optimizer updates."""

import math
from pathlib import Path
from typing import Annotated, Any

import lightning as L
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from frontpage.command.duration import Duration
from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast, Between, Count, OneOf, Positive
from frontpage.data.run_sizes import Accumulation
from frontpage.machine.accelerator import DeviceCount, check_devices, find_accelerator
from frontpage.machine.allocator import keep_freed_memory
from frontpage.machine.precision import best_precision, settle_precision
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.runs.record import read_record
from frontpage.training.fully_sharded import FSDP, FullySharded
from frontpage.training.nodes import cluster_environment, settle_nodes
from frontpage.training.processes import use_launcher
from frontpage.training.run_loop import RunLoop
from frontpage.training.validation_schedule import ValidationSchedule

STRATEGIES = "auto", "ddp", "ddp_find_unused_parameters_true", FSDP
LONGEST_WAIT = 10_000_000  # seconds, some months
PRECISIONS = "auto 32-true 64-true bf16-mixed bf16-true 16-mixed 16-true 32 64 bf16".split()


def make_trainer(
    *,
    accelerator: str,
    devices: Annotated[int | str | list[int], DeviceCount()],
    num_nodes: Count | None,
    strategy: Annotated[str, OneOf(*STRATEGIES)],
    sharded_checkpoints: bool,
    timeout: Annotated[float, Between(0, LONGEST_WAIT, "(]")],
    precision: Annotated[str | int, OneOf(*PRECISIONS)],
    max_epochs: Count | None,
    max_steps: Count | None,
    max_time: Annotated[str | dict[str, int] | None, Duration()],
    accumulate_grad_batches: Annotated[int | list[int], Accumulation()],
    fit_batch: bool,
    keep_memory: bool,
    gradient_clip_val: Positive | None,
    evals_per_epoch: Count,
    val_interval: Count | None,
    validate_first_step: bool,
    log_interval: Count | None,
    limit_train_batches: Annotated[int | float, Between(0, math.inf, "()")],
    limit_val_batches: float,
    partial_validation: bool,
    overfit_batches: Annotated[int | float, AtLeast(0)],
    detect_anomaly: bool,
    profiler: str | None,
    deterministic: bool | None,
    default_root_dir: str,
    callbacks: list[L.Callback],
    logger: list[Any],
) -> L.Trainer:
    """A Trainer that says which device it took; raises UserError for what this machine or the rules do not allow.

    `val_interval`, `log_interval` count optimizer updates; `limit_val_batches` is a share of the validation set.
    `accumulate_grad_batches` may have a number for each epoch: `accumulation` keeps all, and ValidationSchedule sets
    Lightning's. `fit_batch` is for whoever knows the model; here it is kept as an attribute, and so is `timeout`, the
    seconds that a process waits for the others. `keep_memory`: a CPU's, of tensors that are gone.
    """
    if max_epochs is None and max_steps in (None, -1):
        raise UserError("trainer.max_epochs=null and trainer.max_steps=null: a run needs one of them to end")
    if limit_val_batches != 1 and not (partial_validation and 0 <= limit_val_batches < 1):
        allowed = "1, since a run validates on the whole validation set; a share from 0 to 1 under debug= only"
        raise BadValue("trainer.limit_val_batches", limit_val_batches, allowed)
    num_nodes, devices = settle_nodes(num_nodes, devices)
    chosen = find_accelerator(accelerator)
    check_devices(devices, chosen)
    before = (read_record(Path(default_root_dir)) or {}).get("precision")
    precision = settle_precision(precision, chosen, before)
    if chosen == "cpu":
        keep_freed_memory(large=keep_memory)
    several = isinstance(accumulate_grad_batches, list)
    accumulation = tuple(accumulate_grad_batches) if several else (accumulate_grad_batches,)
    try:
        trainer = L.Trainer(
            accelerator=chosen,
            devices=devices,
            num_nodes=num_nodes,
            strategy=FullySharded(sharded_checkpoints) if strategy == FSDP else strategy,
            precision=precision,
            max_epochs=max_epochs,
            max_steps=-1 if max_steps is None else max_steps,
            max_time=max_time,
            accumulate_grad_batches=accumulation[0],
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
            plugins=[CheckpointFile(), cluster_environment()],
            logger=logger or False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, L.pytorch.callbacks.Checkpoint) for callback in callbacks),
        )
    except (ValueError, TypeError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise UserError(f"trainer: {error}") from error
    use_launcher(trainer)
    if chosen == "cpu" and trainer.world_size > 1:
        best_precision(chosen)  # measured before the other processes are started, which inherit what came of it
    # Lightning would only note a SIGTERM, and end the run as a success; ours raises as for Ctrl-C.
    trainer._signal_connector._sigterm_notifier_fn = lambda number, frame: None
    trainer.fit_batch, trainer.accumulation, trainer.timeout = fit_batch, accumulation, timeout
    schedule = ValidationSchedule(trainer, val_interval, evals_per_epoch, validate_first_step)
    trainer.fit_loop = RunLoop(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
    trainer.fit_loop.epoch_loop = schedule
    return trainer


def _profiler(name: str | None, directory: str) -> Profiler | None:
    """A profiler that writes `fit-profile.txt` to the run's directory; null for none, UserError for an unknown one."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    if name is None:
        return None
    if name not in kinds:
        raise BadValue("trainer.profiler", name, f"one of {' '.join(kinds)}, or null")
    return kinds[name](dirpath=directory, filename="profile")
