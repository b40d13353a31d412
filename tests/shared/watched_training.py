"""A few updates by the real Trainer: their losses, rates and the norms of their gradients."""

import warnings

import lightning as L
import torch
from optimizers import ROWS, TIME, VOCABULARY

from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import TitleBatch
from frontpage.data.run_sizes import RunSizes


def batch_of(seed):
    tokens = torch.randint(3, VOCABULARY, (ROWS, TIME + 1), generator=torch.Generator().manual_seed(seed))
    places = torch.arange(TIME).repeat(ROWS, 1)
    return TitleBatch(tokens[:, :-1], tokens[:, 1:], places * 0, places)


class Loader:
    """A few batches, as a run's own loader gives them."""

    def __init__(self, count):
        self.batches = [batch_of(seed) for seed in range(count)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Batches(L.LightningDataModule):
    """Data without titles."""

    batch_size = ROWS

    def __init__(self, count):
        super().__init__()
        self.loader = Loader(count)

    def run_sizes(self, trainer):
        tokens = len(self.loader) * ROWS * TIME
        accumulate, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
        return RunSizes.same(EpochSizes(tokens, TIME, ROWS, accumulate, limit=limit))

    def train_dataloader(self):
        return self.loader


class Watch(L.Callback):
    """Keeps the loss, the rates and the gradient's norm of every update."""

    def __init__(self):
        self.losses, self.rates, self.norms = [], [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.losses.append(float(module.loss))
        self.norms += [] if module.grad_norm is None else [float(module.grad_norm)]


def trained(module, precision="32-true", count=3, **settings):
    """Train on `count` batches with the real Trainer and give back what was watched."""
    watch, quiet = Watch(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "max_epochs": 1, "accelerator": "cpu"}
    if "plugins" not in settings:
        quiet["precision"] = precision
    with warnings.catch_warnings(action="ignore"):
        trainer = L.Trainer(**quiet, callbacks=[watch], **settings)
        trainer.fit(module, datamodule=Batches(count))
    return watch
