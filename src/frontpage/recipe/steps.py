"""How many optimizer updates a run has."""

import math

import lightning as L


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
