"""The micro-batch that fits into the memory of a device, at an unchanged effective batch."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import lightning as L

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import accumulation_of
from frontpage.machine.memory import free_bytes
from frontpage.machine.peak_memory import GIB
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.record import read_record, told
from frontpage.runs.run import Run
from frontpage.training.fully_sharded import FullySharded
from frontpage.training.memory.estimate import estimate_training

USED = 0.9  # of the free memory; the rest is for what the estimate does not count


def fit_batch(trainer: L.Trainer, data: RunData, model: TrainingModule, resumed: Run | None) -> None:
    """Give `data` the largest micro-batch that is estimated to fit, and `trainer` the accumulation that it needs.

    Rows an update stay what they were. A run that goes on from one that is `resumed` keeps what that one's `run.json`
    names. Raises UserError where not even one row fits, on several devices, and where a run goes on that had another
    batch.
    """
    known = type(model).planned_loss is not TrainingModule.planned_loss
    allowed = f"false: {type(model).__name__} does not say what its loss holds (planned_loss)"
    if not known:
        raise BadValue("trainer.fit_batch", True, allowed)
    rows = [data.batch_size * many for many in accumulation_of(trainer)]
    micro = None if resumed is None else _recorded(resumed.path)
    if micro is not None and not told(read_record(resumed.path), "config", "trainer", "fit_batch"):
        allowed = f"false: a run that goes on keeps its micro-batches of {micro} rows"
        raise BadValue("trainer.fit_batch", True, allowed)
    if micro is None and trainer.world_size > 1:
        allowed = "false on several devices, each of which would choose by the memory that it has free"
        raise BadValue("trainer.fit_batch", True, f"{allowed}; scripts/memory.py --fits says what fits")
    if micro is None:
        free = free_bytes(trainer.strategy.root_device)
        try:
            micro = largest_that_fits(trainer, data, model, math.gcd(*rows), int(USED * free))
        except (NotImplementedError, RuntimeError) as error:
            said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            why = f"false, since what a step holds cannot be told ({said})"
            raise BadValue("trainer.fit_batch", True, why) from error
        if micro is None:
            allowed = f"true needs memory for one row of {data.block_size} tokens, and {free / GIB:.2f} GiB are free"
            raise BadValue("trainer.fit_batch", True, allowed)
    # A recorded micro-batch that is a whole epoch need not divide the rows.
    accumulation = tuple(-(-many // micro) for many in rows)
    if micro != data.batch_size:
        notice(
            f"trainer.fit_batch=true: micro-batches of {micro} rows,"
            f" trainer.accumulate_grad_batches={in_words(accumulation)}; {in_words(rows)} rows an update as before"
        )
        if model.learns_from_batches:
            notice("tasks on pairs compare the examples of a micro-batch: with fewer, their losses are others")
    data.batch_size, trainer.accumulate_grad_batches, trainer.accumulation = micro, accumulation[0], accumulation


def largest_that_fits(
    trainer: L.Trainer, data: RunData, model: TrainingModule, rows: int, limit: int, checkpointing: bool = False
) -> int | None:
    """The largest divisor of `rows` whose training step is estimated at most at `limit` bytes; None where none is."""
    divisors = [micro for micro in range(rows, 0, -1) if rows % micro == 0]
    return next((micro for micro in divisors if needed(trainer, data, model, micro, checkpointing) <= limit), None)


def needed(trainer: L.Trainer, data: RunData, model: TrainingModule, micro: int, checkpointing: bool = False) -> int:
    """Estimated bytes of training micro-batches of `micro` rows, every block checkpointed or as the model has it."""
    device, net = trainer.strategy.root_device, model.net
    if checkpointing:
        net = copy.copy(net)
        net.checkpoint_every = 1
    sizes = {"precision": str(trainer.precision), "document_mask": model.document_mask, "card": device.type == "cuda"}
    sizes |= {"loss": model.planned_loss, "passes": model.passes, "mode": model.precision_mode}
    rows = data.widest_rows(micro)
    memory = estimate_training(net, model.make_optimizer, rows, data.block_size, **sizes)
    if isinstance(trainer.strategy, FullySharded):
        memory = memory.spread(trainer.world_size, net)
    else:
        memory = memory.copied(trainer.world_size)
    return memory.on_card() if device.type == "cuda" else memory.total


def in_words(numbers: Sequence[int]) -> str:
    """One number, or a list as the command line takes it."""
    return str(numbers[0]) if len(numbers) == 1 else f"[{','.join(map(str, numbers))}]"


def _recorded(directory: Path) -> int | None:
    micro = (read_record(directory) or {}).get("micro_batch")
    return micro if isinstance(micro, int) and micro > 0 else None
