"""How many optimizer updates a run has, and what the epoch that it is in consists of."""

import math

import lightning as L

from frontpage.data.epoch_sizes import EpochSizes


def sizes_now(trainer: L.Trainer) -> EpochSizes | None:
    """What the epoch that is being trained consists of; None for a loader that is not of a run's data."""
    sizes_of = getattr(trainer.train_dataloader, "sizes_of", None)
    return None if sizes_of is None else sizes_of(trainer.current_epoch)


def updates_per_epoch(trainer: L.Trainer, data: L.LightningDataModule | None = None) -> int:
    """Optimizer updates of an epoch, the first where they differ; `data` where the trainer does not know it yet."""
    return (data or trainer.datamodule).run_sizes(trainer).of(0).updates


def planned_steps(trainer: L.Trainer, data: L.LightningDataModule | None = None) -> int:
    """Optimizer updates of the whole run, as far as epochs and `max_steps` bound it; `data` is needed before the fit.

    Lightning's `estimated_stepping_batches` says the same where epochs are alike, but asking it before a checkpoint is
    loaded makes Lightning forget where in the epoch the data stood.
    """
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
    steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
    return int((data or trainer.datamodule).run_sizes(trainer).updates(epochs, most=steps))
