"""The training loop: the Trainer, its callbacks and loggers, the plan of a run, the memory estimate."""
