"""What no machine like this one can hold, refused before a byte of it is allocated."""

import math
import re
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import nn

from frontpage.command.build import build
from frontpage.command.errors import Infeasible, UserError
from frontpage.data.tokenizer.title_tokenizer import SMALLEST_VOCABULARY
from frontpage.machine.memory import machine_memory
from frontpage.machine.peak_memory import GIB
from frontpage.training.memory.estimate import TrainingMemory, estimate_training

LONG = 8192  # tokens of a block: from here the pairs of one row can be too many


class _Size(NamedTuple):
    """Bytes of a net."""

    weights: float
    tables: float  # masks and positions, which grow with the block


def check_size(config: DictConfig) -> None:
    """Raise Infeasible where the weights and tables of the config's net alone are more than the machine's memory.

    Nets of one layer and of two are built without numbers, and the rest is added up, so that it takes no longer for
    many layers.
    """
    layers = config.model.get("n_layer")
    one = size = _size(config, **_layers(config, 1))
    if layers and layers > 1 and size.weights < math.inf:
        two = _size(config, **_layers(config, 2))
        size = _Size(*(first + (layers - 1) * (second - first) for first, second in zip(one, two, strict=True)))
    there = machine_memory()
    if sum(size) <= there:
        _check_row(config, size.tables - one.tables, there)
        return
    if size.tables >= size.weights and size.weights < math.inf:
        key, value = "data.block_size", config.data.block_size
    elif sum(one) <= there:
        key, value = "model.n_layer", layers
    else:
        widths = {name: config.model.get(name) for name in ("d_ff", "d_model", "widths") if config.model.get(name)}
        key, value = next(((f"model.{name}", width) for name, width in widths.items()), ("model", "..."))
    parts = f"{_gib(size.weights)} of weights and {_gib(size.tables)} of masks and positions"
    raise Infeasible(f"{key}={value}: the net has {parts}; this machine has {_gib(there)} of memory")


def _check_row(config: DictConfig, other_tables: float, there: int) -> None:
    """Raise Infeasible where a row of the block cannot be trained on by one layer, beside the tables of the others."""
    if config.data.block_size < LONG or torch.cuda.is_available():  # a card's own memory is asked later
        return
    with torch.device("meta"):
        model = build(config.model, "model", vocab_size=SMALLEST_VOCABULARY, **_layers(config, 1))
    try:
        sizes = {"document_mask": model.document_mask, "loss": model.planned_loss, "passes": model.passes}
        memory = estimate_training(model.net, model.make_optimizer, 1, config.data.block_size, **sizes)
    except (NotImplementedError, RuntimeError):  # the plan of the run says so
        return
    if memory.total + other_tables > there:
        needed = f"one row needs an estimated {_gib(memory.total + other_tables)}"
        raise Infeasible(
            f"data.block_size={config.data.block_size}: {needed}; this machine has {_gib(there)} of memory"
        )


def _layers(config: DictConfig, count: int) -> dict[str, int]:
    return {"n_layer": count} if config.model.get("n_layer") else {}


def check_step(memory: TrainingMemory, batch_size: int, block_size: int) -> None:
    """Raise Infeasible where a step on the CPU is estimated to need more than the machine has."""
    there = machine_memory()
    if memory.total <= there:
        return
    error = Infeasible(
        f"data.batch_size={batch_size} data.block_size={block_size}: training needs an estimated"
        f" {_gib(memory.total)}, this machine has {_gib(there)} of memory\nallowed: a shorter block, a smaller batch"
        " with trainer.accumulate_grad_batches, model.activation_checkpointing=full; scripts/memory.py says what fits"
    )
    error.estimated_memory_bytes = memory.total
    raise error


def _size(config: DictConfig, **changed: int) -> _Size:
    """The net's with the smallest vocabulary."""
    try:
        with torch.device("meta"):
            net = build(config.model, "model", vocab_size=SMALLEST_VOCABULARY, **changed).net
    except (RuntimeError, TypeError, UserError) as error:
        if re.search("overflow|too large", str(error), re.IGNORECASE):  # a size beyond 64 bits
            return _Size(math.inf, math.inf)
        return _Size(0, 0)  # whatever it is, building with numbers says it next
    weights = sum(weight.numel() * weight.itemsize for weight in net.parameters())
    tables = net.block_tables()
    positions = sum(table.numel() * table.itemsize for table in tables if isinstance(table, nn.Parameter))
    return _Size(weights - positions, sum(table.numel() * table.itemsize for table in tables))


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size < math.inf else "far too many GiB"
