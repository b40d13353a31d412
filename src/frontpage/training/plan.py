"""RunPlan: what a run will do and need, known before it trains."""

from dataclasses import dataclass

import lightning as L
import torch
from torch.utils._pytree import tree_leaves

from frontpage.command.errors import Infeasible
from frontpage.command.notices import notice
from frontpage.command.process_family import is_helper
from frontpage.data.run_data import RunData
from frontpage.machine.flops import measure_matmul_peak
from frontpage.machine.peak_memory import GIB
from frontpage.machine.precision import product_type
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.recipe.plain_tensors import bytes_of
from frontpage.recipe.steps import planned_steps
from frontpage.recipe.training_module import TrainingModule
from frontpage.training.callbacks.averaged_weights import AveragedWeights
from frontpage.training.fully_sharded import FullySharded
from frontpage.training.memory.estimate import TrainingMemory, estimate_training
from frontpage.training.memory.fake_step import dtypes_of
from frontpage.training.memory.feasible import check_step
from frontpage.training.storage import check_room, kept_checkpoints


@dataclass(frozen=True)
class RunPlan:
    """Sizes in rows, tokens, optimizer updates, bytes and seconds."""

    rows: int  # windows of the largest update, over accumulated batches and devices
    least_rows: int  # of the epoch whose largest update is smallest: fewer than `rows` where accumulation changes
    tokens: int  # its targets
    micro_batch: int  # windows of its batches on one device
    accumulated: int  # batches of it
    updates_per_epoch: tuple[int, int]  # the fewest, and the most
    updates: int  # of the whole run
    memory: TrainingMemory | None  # None where a layer cannot be run without numbers
    checkpoint_bytes: int
    checkpoints: int  # kept in the end, at most, links not counted
    flops_per_token: float  # as the run begins
    flops: float  # of the whole run, by these
    seconds_at_peak: float  # the run's operations, a token's as it begins, at the device's measured rate of products


def plan_run(trainer: L.Trainer, data: RunData, model: TrainingModule) -> RunPlan:
    """Plan a run; UserError where a CUDA device has not the memory for it, or a disk not the room."""
    trainer.datamodule, data.trainer = data, trainer  # as Lightning does when it fits
    device, precision = trainer.strategy.root_device, str(trainer.precision)
    sizes, updates = data.run_sizes(trainer), planned_steps(trainer)
    largest, epochs = sizes.largest(updates), [one for one, _ in sizes.of_run(updates)]
    card = free_memory(device)  # before the model is there
    if device.type == "cuda":
        model.to(device)  # the kernels of the device decide what is kept
    memory = _memory(trainer, data, model, largest.micro_batch)
    if card is not None and memory is not None:
        check_memory(memory, *card, data.batch_size)
    if device.type == "cpu" and memory is not None:
        check_step(memory, data.batch_size, data.block_size)
    weights = sum(weight.numel() for weight in model.net.parameters())
    averaged = any(isinstance(callback, AveragedWeights) for callback in trainer.callbacks)
    dtype, mode = dtypes_of(precision).weights, model.precision_mode
    state = optimizer_bytes(model.net, model.make_optimizer, dtype)
    of_mode = 0 if mode is None else sum(map(bytes_of, tree_leaves(mode.saved(model.net, dtype))))
    flops_per_token = model.flops_per_token(data.block_size)
    flops = flops_per_token * sizes.targets(updates)
    peak = measure_matmul_peak(device, product_type(precision))
    checkpoint_bytes, kept = 4 * weights * (1 + averaged) + state + of_mode, kept_checkpoints(trainer, updates)
    if not is_helper():
        check_room(trainer, kept, checkpoint_bytes)
    return RunPlan(
        rows=largest.update_rows,
        least_rows=min(one.update_rows for one in epochs),
        tokens=largest.update_targets,
        micro_batch=largest.micro_batch,
        accumulated=largest.accumulated,
        updates_per_epoch=(min(one.updates for one in epochs), max(one.updates for one in epochs)),
        updates=updates,
        memory=memory,
        checkpoint_bytes=checkpoint_bytes,
        checkpoints=sum(one.files for one in kept),
        flops_per_token=flops_per_token,
        flops=flops,
        seconds_at_peak=flops / (peak * trainer.world_size),
    )


def free_memory(device: torch.device) -> tuple[int, int] | None:
    """(free, all) bytes of a CUDA device; None for any other, which can swap."""
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else None


def check_memory(memory: TrainingMemory, free: int, total: int, batch_size: int) -> None:
    """Raise a UserError where training is estimated to need more than the `free` bytes of a card with `total`."""
    if memory.on_card() <= free:
        return
    problem = f"training needs an estimated {memory.on_card() / GIB:.2f} GiB"
    found = f"the GPU has {free / GIB:.2f} GiB free of {total / GIB:.2f}"
    advice = "a smaller batch with trainer.accumulate_grad_batches, or model.activation_checkpointing=full"
    error = Infeasible(
        f"data.batch_size={batch_size}: {problem}, {found}\nallowed: {advice}; scripts/memory.py says what fits"
    )
    error.estimated_memory_bytes = memory.on_card()
    raise error


def _memory(trainer: L.Trainer, data: RunData, model: TrainingModule, micro_batch: int) -> TrainingMemory | None:
    """The estimate of a training step; None, and a notice, where a layer cannot be run without numbers."""
    sizes = {"precision": str(trainer.precision), "document_mask": model.document_mask, "loss": model.planned_loss}
    sizes |= {"passes": model.passes, "mode": model.precision_mode}
    try:
        rows = data.widest_rows(micro_batch)
        memory = estimate_training(model.net, model.make_optimizer, rows, data.block_size, **sizes)
        processes, sharded = trainer.world_size, isinstance(trainer.strategy, FullySharded)
        return memory.spread(processes, model.net) if sharded else memory.copied(processes)
    except (NotImplementedError, RuntimeError) as error:
        notice(f"no memory estimate: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None
