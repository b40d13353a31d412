"""StopOnDivergence: a loss or a gradient that is not a number ends the run before it reaches the weights."""

import math
from typing import Any, NoReturn

import lightning as L
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from frontpage.command.endings import Failure
from frontpage.recipe.plain_tensors import as_numbers
from frontpage.recipe.sharded_tensors import is_sharded, own_part
from frontpage.training.callbacks.broken_rows import broken_rows

SKIPPING = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # their fused kernels on CUDA take `found_inf`


class DivergenceError(Failure):
    """The loss is not finite; nothing that follows could be trusted."""


class StopOnDivergence(L.Callback):
    """Raises DivergenceError for a loss, a gradient or weights that are not finite; no checkpoint holds such weights.

    Every update is looked at before it is made. On the CPU the run ends there. Elsewhere looking would wait for the
    device: the device itself leaves out that update and all later ones, until the run ends at the next logging step,
    validation or checkpoint. Under 16-mixed a gradient that overflows is none of this: the scaler leaves out its
    update and goes on with a smaller scale.
    """

    def __init__(self) -> None:
        self._left_out: Tensor | None = None  # updates since the first that was left out, on the device

    def on_gradient(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the update's loss and gradient, which the module calls for behind the clipping."""
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        looked_at = pl_module.loss if scaled else pl_module.loss + pl_module.grad_norm
        if pl_module.device.type == "cpu":
            if not math.isfinite(looked_at):
                self._end(trainer, pl_module, trainer.global_step + 1)
        else:
            self.leave_out(trainer.optimizers[0], looked_at, scaled)

    @torch.no_grad()
    def leave_out(self, optimizer: torch.optim.Optimizer, looked_at: Tensor, scaled: bool = False) -> None:
        """Without waiting for `looked_at`: where it is not finite, let this update and all later ones change nothing.

        A fused kernel leaves the weights as they are; to any other optimizer the gradients are made 0.
        """
        if self._left_out is None:
            self._left_out = torch.zeros((), device=looked_at.device)
        stop = (self._left_out > 0) | ~looked_at.isfinite()
        self._left_out += stop
        if scaled:  # the scaler has looked at the gradients, and the loss is looked at with the others
            return
        sharded = any(is_sharded(weight) for group in optimizer.param_groups for weight in group["params"])
        fused = type(optimizer) in SKIPPING and optimizer.defaults["fused"] and not sharded
        if fused and looked_at.device.type != "mps":
            optimizer.found_inf = stop.float()
            return
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    own_part(weight.grad).masked_fill_(stop, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask the device at logging steps."""
        if trainer._logger_connector.should_update_logs and not trainer.fit_loop._should_accumulate():
            self.look(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the device before it scores."""
        self.look(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the losses of the validation."""
        for name in pl_module.losses:
            loss = pl_module.metrics[name]
            if not math.isfinite(loss):
                self._raise(trainer, f"{name} is {loss} at update {trainer.global_step}")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let nothing be written that is not finite."""
        self.look(trainer, pl_module)
        kept = [checkpoint.get(name) for name in ("state_dict", "current_model_state", "optimizer_states")]
        finite = all_finite([*tree_leaves(kept), *pl_module.net.parameters()])
        if not trainer.strategy.reduce_boolean_decision(finite):  # one process may have what the others lack
            what = "the weights or the optimizer's averages of them hold numbers that are not finite"
            self._raise(trainer, f"{what} at update {trainer.global_step}, and are not saved")

    def look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for the device and end the run if it has left out an update."""
        if self._left_out is not None and self._left_out > 0:
            self._end(trainer, pl_module, trainer.global_step + 1 - int(self._left_out))

    def _end(self, trainer: L.Trainer, module: L.LightningModule, update: int) -> NoReturn:
        found = f"train/loss is {float(module.loss)}, the gradient's norm {float(module.grad_norm)}"
        if update <= trainer.global_step:  # those of the update itself are gone
            found = "train/loss or the gradient is not finite"
        self._raise(trainer, f"{found} at update {update}", broken_rows(trainer, module, update))

    def _raise(self, trainer: L.Trainer, found: str, rows: str = "") -> NoReturn:
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
        raise DivergenceError(
            f"{found} (learning rate {rate:.3g}, precision {trainer.precision}): the run diverged{rows and f'; {rows}'}"
            "\ntry a lower optimizer.lr, a longer scheduler.warmup, trainer.gradient_clip_val or"
            " trainer.precision=32-true"
        )


@torch.no_grad()
def all_finite(leaves: list[Any]) -> bool:
    """Whether the tensors of floating-point numbers among `leaves` hold finite ones only."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(as_numbers(own_part(tensor)).isfinite().all()) for tensor in tensors)
