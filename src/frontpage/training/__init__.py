"""The loop and its guests: the Trainer, callbacks, loggers, the plan of a run, the memory estimate."""
