"""How any net learns: the LightningModule of all architectures, optimizers, schedules, parameter groups."""
