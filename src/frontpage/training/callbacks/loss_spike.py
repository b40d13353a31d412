"""LossSpike: a training loss far above its recent course is said, or ends the run."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from frontpage.command.errors import BadValue
from frontpage.command.limits import Count, Positive
from frontpage.command.notices import notice
from frontpage.training.callbacks.stop_on_divergence import DivergenceError

ACTIONS = ("notice", "stop")
STATE = ("mean", "variance", "newest", "above", "worst")
SETTLED = 10  # updates in a row above the threshold: the loss has a new level


class LossSpike(L.Callback):
    """Compares each update's loss with the exponential mean and deviation of those before it.

    A spike lies more than `threshold` deviations above the mean; it enters the two as if it lay there, so one outlier
    does not hide the next, while SETTLED of them in a row are taken for a new level. The deviation is that of
    neighbours, sqrt(mean squared difference / 2), which a falling loss does not widen (von Neumann 1941). `window` is
    the time constant in updates; the first `window` only build the course. `action` is `notice` or `stop`
    (DivergenceError). The numbers stay on the device and are looked at on logging steps; they are in checkpoints.
    Raises UserError.
    """

    def __init__(self, action: str = "notice", threshold: Positive = 6.0, window: Count = 50) -> None:
        if action not in ACTIONS:
            raise BadValue("callbacks.loss_spike.action", action, f"one of {' '.join(ACTIONS)}")
        self.action, self.threshold, self.window = action, threshold, window
        self.seen = 0  # updates
        self.mean = self.variance = self.newest = self.above = torch.zeros(())
        # Since the last look: the largest number of deviations, the loss, the mean and the update of that one.
        self.worst = torch.zeros(4)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the numbers where the loss is."""
        for name in STATE:
            setattr(self, name, getattr(self, name).to(pl_module.device))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare once an update, and look at the result on a logging step."""
        if trainer.fit_loop._should_accumulate():
            return
        self.compare(pl_module.loss, trainer.global_step)
        if trainer._logger_connector.should_update_logs:
            self._look(trainer)

    @torch.no_grad()
    def compare(self, loss: Tensor, step: int) -> None:
        """Take one loss in, without waiting for it."""
        loss = loss.detach().float()
        if self.seen == 0:
            self.mean = self.newest = loss
        taken, change, settled = loss, (loss - self.newest).abs(), torch.zeros_like(loss, dtype=torch.bool)
        if self.seen >= self.window:
            # A course without any noise has no deviation to count in: the least step of a number is one then.
            deviation = self.variance.sqrt().maximum(torch.finfo(loss.dtype).eps * self.mean.abs())
            excess = (loss - self.mean) / deviation
            found = torch.stack([excess, loss, self.mean, torch.full_like(loss, step)])
            self.worst = torch.where(excess > self.worst[0].clamp(min=self.threshold), found, self.worst)
            self.above = torch.where(excess > self.threshold, self.above + 1, 0.0)
            settled = self.above >= SETTLED
            taken = loss.minimum(self.mean + self.threshold * deviation)
            change = change.minimum(self.threshold * deviation)
        self.seen += 1
        share = 1 / min(self.seen, self.window)  # a plain mean until the window is full
        self.mean = torch.where(settled, loss, self.mean + share * (taken - self.mean))
        self.variance = self.variance + share * (change.square() / 2 - self.variance)
        self.newest = loss

    def state_dict(self) -> dict[str, Any]:
        """The course of the loss so far."""
        return {"seen": self.seen} | {name: getattr(self, name).cpu() for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's."""
        for name in ("seen", *STATE):
            setattr(self, name, state_dict[name])

    def _look(self, trainer: L.Trainer) -> None:
        """Ask the device for the worst since the last look; every process takes the worst of all."""
        worst = trainer.strategy.reduce(self.worst[0].clone(), reduce_op="max")
        deviations, (_, loss, mean, step) = float(worst), self.worst.tolist()
        self.worst = torch.zeros_like(self.worst)
        if deviations == 0:
            return
        message = f"train/loss jumped by {deviations:.1f} standard deviations"
        if step:  # this process saw one
            message += f" to {loss:.4f} at update {step:.0f} (it was about {mean:.4f})"
        if self.action == "stop":
            tried = "try a lower optimizer.lr or trainer.gradient_clip_val"
            raise DivergenceError(f"{message} (precision {trainer.precision})\n{tried}")
        notice(message)
