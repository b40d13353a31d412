"""LogMetrics: what a training curve needs besides the loss."""

import math
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from frontpage.machine.peak_memory import current_memory, peak_memory
from frontpage.recipe.sharded_tensors import total_norm
from frontpage.recipe.steps import updates_per_epoch
from frontpage.training.callbacks.run_clock import ELAPSED, clock_of


class LogMetrics(L.Callback):
    """Logs perplexity, learning rates, gradient and weight norms, time and memory, at each logging step."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """With `log_interval: null`, log once an epoch."""
        if trainer.log_every_n_steps == 0:
            trainer.log_every_n_steps = updates_per_epoch(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log under the names of `docs/metrics.md`, straight to the loggers: `log_dict` takes a small step's time."""
        connector = trainer._logger_connector
        if connector.should_update_logs and not trainer.fit_loop._should_accumulate():
            connector.log_metrics(training_metrics(trainer, pl_module, pl_module.loss))
            pl_module.on_logged()


@torch.no_grad()
def training_metrics(trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> dict[str, float]:
    """The `train/`, `time/` and `memory/` metrics now, `loss` being that of the newest batch; waits for the device."""
    clock, groups, nats = clock_of(trainer), trainer.optimizers[0].param_groups, float(loss)
    values = {
        "train/loss": nats,
        "train/perplexity": math.exp(min(nats, 700.0)),
        "train/learning_rate": groups[0]["lr"],
        "train/weight_norm": _norm(pl_module.net.parameters()),
        ELAPSED: clock.elapsed_seconds,
        "time/tokens_per_second": clock.tokens_per_second,
        "memory/peak_bytes": float(peak_memory(pl_module.device)),
    }
    if len(groups) > 1:
        values |= {f"train/learning_rate/{group['name']}": group["lr"] for group in groups}
        values |= {f"train/weight_norm/{group['name']}": _norm(group["params"]) for group in groups if group["params"]}
    if pl_module.weight_decay.scheduled:
        values["train/weight_decay"] = groups[0]["weight_decay"]
    if pl_module.grad_norm is not None:
        values["train/grad_norm"] = float(pl_module.grad_norm)
    utilization, memory = clock.model_flops_utilization, current_memory(pl_module.device)
    values |= pl_module.training_values()
    if utilization is not None:
        values["time/model_flops_utilization"] = utilization
    if memory is not None:
        values["memory/current_bytes"] = float(memory)
    return values


def _norm(weights: Iterable[Tensor]) -> float:
    return float(total_norm(weights))
