"""A learning-rate range test: train while the rate grows exponentially, and see where the loss falls fastest.

Smith 2017, "Cyclical learning rates", section 3.3. Lightning's own finder sets all parameter groups to one rate and
takes the steepest point of the loss over the rate itself, which favours the smallest; here groups keep their ratios
and the slope is that over the logarithm.
"""

import math
from typing import Any

import lightning as L
import numpy as np
from omegaconf import DictConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from frontpage.command.build import build
from frontpage.command.progress_line import ProgressLine
from frontpage.recipe.precision.mode import mode_of
from frontpage.runs.reopen import reopened

SMOOTHING = 0.9  # of the exponential mean
DIVERGED = 2.0  # times the best smoothed loss: the test ends


class RateSweep(L.Callback):
    """Multiplies the rates of all groups so that they go from `lowest` to `highest` in `updates`; keeps the losses.

    `rate` is the config's own rate, of which a group's may be a multiple.
    """

    def __init__(self, rate: float, lowest: float, highest: float, updates: int) -> None:
        self.rate, self.lowest, self.highest, self.updates = rate, lowest, highest, updates
        self.rates: list[float] = []
        self.losses: list[float] = []  # of each update
        self.line = ProgressLine("updates", updates)

    def rate_at(self, update: int) -> float:
        """The rate of update 0, 1, ..."""
        return self.lowest * (self.highest / self.lowest) ** (update / (self.updates - 1))

    def schedule(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """In place of the config's schedule."""
        return LambdaLR(optimizer, lambda update: self.rate_at(update) / self.rate)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of a finished update; stop when it has diverged."""
        if trainer.global_step == len(self.losses):
            return
        self.rates.append(self.rate_at(len(self.losses)))
        self.losses.append(float(pl_module.loss))
        self.line.advance(1)
        course = smoothed(self.losses)
        if not course[-1] <= DIVERGED * course.min():
            trainer.should_stop = True


def range_test(config: DictConfig, lowest: float, highest: float, updates: int) -> tuple[list[float], list[float]]:
    """(rates, losses in nats a token) of a run of `config` on its training titles, without validation or records."""
    config = config.copy()
    config.trainer.update(max_epochs=None, max_steps=updates, max_time=None)
    config.trainer.update(limit_val_batches=0, partial_validation=True)
    L.seed_everything(config.seed, verbose=False)
    sweep = RateSweep(config.optimizer.lr, lowest, highest, updates)
    mode = mode_of(config)
    if mode is not None:
        config.trainer.precision = mode.lightning
    trainer = build(config.trainer, "trainer", callbacks=[sweep], logger=[])
    data = build(config.data, "data")
    data.setup()
    model = build(config.model, "model", vocab_size=data.vocab_size)
    model.connect(data.tokenizer, data.block_size, reopened)
    model.train_in(mode)
    model.make_scheduler = sweep.schedule
    try:
        trainer.fit(model, datamodule=data)
    finally:
        sweep.line.close()
    finite = [index for index, loss in enumerate(sweep.losses) if math.isfinite(loss)]
    return [sweep.rates[index] for index in finite], [sweep.losses[index] for index in finite]


def smoothed(losses: list[float]) -> np.ndarray:
    """The exponential mean, corrected for its start at 0."""
    mean, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**count))
    return np.array(found)


def suggest(rates: list[float], losses: list[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over log(rate), before its minimum; None where it never falls.

    The first tenth is left out: there the mean has too few losses behind it.
    """
    first, course = max(len(losses) // 10, 1), smoothed(losses)
    if len(course) < first + 3:
        return None
    last = first + int(np.argmin(course[first:]))
    if last - first < 2:
        return None
    slopes = np.gradient(course[first : last + 1], np.log(rates[first : last + 1]))
    steepest = int(np.argmin(slopes))
    return rates[first + steepest] if slopes[steepest] < 0 else None
