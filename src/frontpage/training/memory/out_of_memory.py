"""What a run that ran out of memory says."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch

from frontpage.command.errors import Infeasible
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import accumulation_of
from frontpage.machine.peak_memory import GIB
from frontpage.recipe.training_module import TrainingModule
from frontpage.training.memory.fit_batch import in_words, largest_that_fits, needed

SMALLER = 0.6  # of the estimate that was too much: what is proposed needs at most this
WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of PyTorch's RuntimeErrors


class OutOfMemory(Infeasible):
    """Training needs more memory than there is."""


@contextmanager
def out_of_memory_explained(trainer: L.Trainer, data: RunData, model: TrainingModule) -> Iterator[None]:
    """Turn an out-of-memory error into an OutOfMemory with the estimate, the batch, and settings that would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        try:
            explained = OutOfMemory(advice(trainer, data, model))
            explained.estimated_memory_bytes = needed(trainer, data, model, data.batch_size)
        except (NotImplementedError, RuntimeError):  # nothing is known of what a step holds
            raise error from None
        raise explained from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of the machine, could not be had."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS))


def advice(trainer: L.Trainer, data: RunData, model: TrainingModule) -> str:
    """Two lines: what was too much, and what needs clearly less with as many rows an update."""
    micro, rows = data.batch_size, [data.batch_size * many for many in accumulation_of(trainer)]
    estimate = needed(trainer, data, model, micro)
    tried = f"data.batch_size={micro}: out of memory; {micro} x {data.block_size} tokens need an estimated"
    batches, settings = [], []  # of a run that goes on the batch stays as it was
    smaller = largest_that_fits(trainer, data, model, math.gcd(*rows), int(SMALLER * estimate))
    if smaller is not None:
        accumulation = in_words([many // smaller for many in rows])
        batches.append(f"data.batch_size={smaller} trainer.accumulate_grad_batches={accumulation}")
    if trainer.world_size == 1:
        batches.append("trainer.fit_batch=true")
    if batches:
        settings.append(f"{' or '.join(batches)} (in a new run)")
    if not model.net.checkpoint_every:
        less = needed(trainer, data, model, micro, checkpointing=True) / GIB
        settings.append(f"model.activation_checkpointing=full (an estimated {less:.2f} GiB)")
    return f"{tried} {estimate / GIB:.2f} GiB\nallowed: {', or '.join(settings) or 'a smaller model'}"
