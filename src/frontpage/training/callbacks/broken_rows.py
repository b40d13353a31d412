"""Which rows of an update have a loss or a gradient that is not finite, and what is in them."""

from typing import Any

import lightning as L
import torch

from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.packing import rows_of
from frontpage.recipe.plain_tensors import as_numbers
from frontpage.recipe.sharded_nets import is_gathered


def broken_rows(trainer: L.Trainer, module: L.LightningModule, update: int) -> str:
    """Words for the smallest part of `update` (1, 2, ...) that is broken by itself, with what it holds; "" if none.

    The rows are made again and halved as long as one half alone is broken, in the weights as they are now.
    """
    loader = trainer.train_dataloader
    if not isinstance(loader, EpochLoader):
        return ""
    if not is_gathered(module.net):  # a pass through it takes all processes, each of which has other rows
        return "the rows are not looked for under trainer.strategy=fsdp"
    if not all(bool(as_numbers(weight).isfinite().all()) for weight in module.net.parameters()):
        return "the weights were broken by the update before, not by its titles"
    epoch, place = loader.run_sizes.place(update - 1)
    sizes = loader.sizes_of(epoch)
    first = place * sizes.accumulate
    for index in range(first, min(first + sizes.accumulate, sizes.batches)):
        batch = loader.batch(epoch, index)
        rows = range(len(batch[0]))
        if _is_finite(trainer, module, batch, rows):
            continue
        while len(rows) > 1:
            half = len(rows) // 2
            broken = [part for part in (rows[:half], rows[half:]) if not _is_finite(trainer, module, batch, part)]
            if len(broken) != 1:
                break
            rows = broken[0]
        return _words(trainer, batch, rows, f"batch {index} of epoch {epoch}")
    return ""


def _is_finite(trainer: L.Trainer, module: L.LightningModule, batch: Any, rows: range) -> bool:
    """Whether loss and gradient of some rows are; the gradients of the weights stay as they are."""
    part = rows_of(batch, slice(rows.start, rows.stop), module.device)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    # Compiled code would be compiled again for every number of rows.
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"), trainer.precision_plugin.train_step_context():
        loss = module.loss_of(part)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return all(bool(one.isfinite().all()) for one in (loss, *gradients) if one is not None)


def _words(trainer: L.Trainer, batch: Any, rows: range, place: str) -> str:
    """`it is row 5 of batch 3 of epoch 0, whose titles begin with 'Show HN: ...', ...`."""
    which = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"
    which = f"all {len(rows)} rows" if 1 < len(rows) == len(batch[0]) else which
    return f"{'it is' if len(rows) == 1 else 'they are'} {which} of {place}{trainer.datamodule.words_of(batch, rows)}"
