"""LrPlateau: the learning rate is lowered where validations stop getting better, under any schedule."""

from typing import Annotated, Any

import lightning as L
import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import Amount, AtLeast, Between, Count, OneOf
from frontpage.training.callbacks.event_log import EventLog

MOMENTS = ("exp_avg", "momentum_buffer")  # of AdamW and its kin; of SGD and Muon
WHOLE = Annotated[int, AtLeast(0)]
Share = Annotated[float, Between(0, 1, "()")]


class LrPlateau(L.Callback):
    """Multiplies the rates by `factor` after `patience` validations in a row whose smoothed `monitor` is no new best.

    A value is smoothed with the weight `smoothing` of the mean before it (0: not at all), and is a new best where it is
    better by `min_delta`. For `cooldown` validations behind a drop none is counted, and there are `most` drops. The
    schedule goes on, all its rates times `factor`; with `momentum` the optimizer's first moments are multiplied by
    that, too. What has been counted, and the rates, lie in checkpoints. ReduceLROnPlateau of PyTorch sets rates that a
    schedule would overwrite. Raises UserError for a `monitor` that a validation lacks, and for a schedule that is no
    course of factors.
    """

    def __init__(
        self,
        monitor: str,
        mode: Annotated[str, OneOf("min", "max")] = "min",
        factor: Share = 0.5,
        patience: Count = 3,
        min_delta: Amount = 0.0,
        smoothing: Annotated[float, Between(0, 1, "[)")] = 0.5,
        cooldown: WHOLE = 0,
        most: Count = 1,
        momentum: Annotated[float, Between(0, 1)] | None = None,
    ) -> None:
        self.monitor, self.mode, self.factor, self.patience = monitor, mode, factor, patience
        self.min_delta, self.smoothing, self.cooldown, self.most = min_delta, smoothing, cooldown, most
        self.momentum = momentum
        self.mean: float | None = None  # of the monitored values
        self.best: float | None = None  # of the means
        self.waited = self.resting = 0  # validations without a new best; those left of a cooldown
        self.dropped: list[int] = []  # after which updates

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the validation in, and lower the rates where it is time; every process has the same metrics."""
        if trainer.state.fn != "fit":
            return
        value = pl_module.metrics.get(self.monitor)
        if value is None:
            known = sorted(name for name, one in pl_module.metrics.items() if one is not None)
            raise BadValue("callbacks.lr_plateau.monitor", self.monitor, " ".join(known))
        if self._is_time(float(value)) and len(self.dropped) < self.most:
            self._drop(trainer, pl_module)

    def _is_time(self, value: float) -> bool:
        self.mean = value if self.mean is None else self.smoothing * self.mean + (1 - self.smoothing) * value
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * self.mean < sign * self.best - self.min_delta:
            self.best, self.waited = self.mean, 0
        elif self.resting == 0:
            self.waited += 1
        self.resting = max(self.resting - 1, 0)
        return self.waited >= self.patience

    @torch.no_grad()
    def _drop(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        schedule, optimizer = module.lr_schedulers(), module.optimizers(use_pl_optimizer=False)
        if not isinstance(schedule, LambdaLR):
            raise UserError(
                f"callbacks.lr_plateau: {type(schedule).__name__} is no course of factors; scheduler=cosine"
            )
        schedule.base_lrs = [rate * self.factor for rate in schedule.base_lrs]
        for group in optimizer.param_groups:
            group["lr"] *= self.factor
        if self.momentum is not None:
            for state in optimizer.state.values():
                for name in MOMENTS:
                    if name in state:
                        state[name].mul_(self.momentum)
        self.waited, self.resting = 0, self.cooldown
        self.dropped.append(trainer.global_step)
        for callback in trainer.callbacks:
            if isinstance(callback, EventLog):
                callback.write(trainer, "lr_plateau", step=trainer.global_step, factor=self.factor, drops=self.dropped)
        if trainer.is_global_zero:
            since = f"{self.monitor} got no better than {self.best:.4f} (smoothed) in {self.patience} validations"
            tqdm.write(f"lr_plateau: at update {trainer.global_step:,} all rates times {self.factor:g}: {since}")

    def state_dict(self) -> dict[str, Any]:
        """What has been counted."""
        names = ("mean", "best", "waited", "resting", "dropped")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; the rates come back with the schedule."""
        for name, value in state_dict.items():
            setattr(self, name, value)
