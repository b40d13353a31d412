"""LanguageModule: the one recipe of all architectures - loss, metrics, optimizer, schedule, compile."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.notices import notice
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.scoring_rows import ScoringBatch
from frontpage.evaluation.losses import next_token_loss, token_losses
from frontpage.evaluation.metrics import HONEST, TitleScores, honest_metrics
from frontpage.evaluation.original import original_loss, packed_nats_per_char
from frontpage.recipe.compiling import AUTO, worth_compiling
from frontpage.recipe.parameter_groups import LR_SCALINGS, optimizer_of
from frontpage.recipe.steps import planned_steps

WHEN = ("always", "end", "never")


class LanguageModule(L.LightningModule):
    """Trains a net that maps tokens (B, T) to logits (B, T, V); a subclass names its `architecture`.

    `optimizer(parameter_groups)` and `scheduler(optimizer, total_steps)` are factories. With `document_mask` a title
    sees nothing of its neighbours in the window. `original_metric` and `packed_metric` say at which validations
    `val/mainrun_loss` and `val/packed_nats_per_char` are computed: `always`, `end`, `never`. `lr_scaling` says how the
    learning rate follows the rows of an update, `lr_scaling_rows` how many the optimizer's `lr` is meant for. All other
    keys are the architecture's. Raises ValueError.
    """

    architecture: type[nn.Module]

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        document_mask: bool = True,
        compile: bool | str = AUTO,
        original_metric: str = "end",
        packed_metric: str = "end",
        partial_validation: bool = False,
        lr_scaling: str = "none",
        lr_scaling_rows: int = 64,
        **architecture: Any,
    ) -> None:
        super().__init__()
        for key, value in (("original_metric", original_metric), ("packed_metric", packed_metric)):
            if value not in WHEN:
                raise ValueError(f"{key}={value}: one of {' '.join(WHEN)}")
        if compile not in (True, False, AUTO):
            raise ValueError(f"compile={compile}: true, false or {AUTO}")
        if lr_scaling not in LR_SCALINGS:
            raise ValueError(f"lr_scaling={lr_scaling}: one of {' '.join(LR_SCALINGS)}")
        self.net = accelerate(self.architecture(**architecture))
        self._training_hidden = self.net.hidden
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.document_mask, self.compile_net = document_mask, compile
        self.original_metric, self.packed_metric = original_metric, packed_metric
        self.partial_validation = partial_validation
        self.lr_scaling, self.lr_scaling_rows = lr_scaling, lr_scaling_rows
        self.total_steps = 0  # optimizer updates of the whole run, known when training starts
        self.metrics: dict[str, float | None] = {}  # of the newest validation, unrounded
        self.loss: Tensor | None = None  # mean nats a target of the newest update, of its micro-batches so far
        self._loss_parts: list[tuple[Tensor, float]] = []  # their losses, and the shares of the update's targets
        self.grad_norm: Tensor | None = None  # before clipping, of the newest update
        self.provenance: dict[str, Any] | None = None  # of frontpage.runs.provenance: what the weights belong to
        self._scores: TitleScores | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T), each row one document -> logits (B, T, V)."""
        return self.net(tokens)

    def configure_model(self) -> None:
        """Compile what a training step runs; validation and generation, whose shapes vary, stay as they are."""
        if self.compile_net == AUTO:
            self.compile_net = worth_compiling(self.trainer.strategy.root_device)
        if self.compile_net:
            self._training_hidden = torch.compile(self.net.hidden)

    def hidden(self, batch: TitleBatch) -> Tensor:
        """What the head reads, (B, T, C), under the run's own document mask."""
        run = self._training_hidden if self.training else self.net.hidden
        if self.document_mask:
            return run(batch.inputs, batch.document_ids, batch.positions)
        return run(batch.inputs)

    def loss_of(self, batch: TitleBatch) -> Tensor:
        """What training descends: mean nats a target token."""
        return next_token_loss(self.hidden(batch), self.net.head.weight, batch.targets)

    def training_step(self, batch: TitleBatch, batch_idx: int) -> Tensor:
        """Mean nats a target token, weighed so that an update descends the mean over all of its targets.

        Lightning divides by the batches of a full update and takes the mean over the processes; both is undone here,
        since the last update of an epoch has fewer batches, and the last batch fewer targets.
        """
        loss = self.loss_of(batch)
        sizes = None if self._trainer is None else getattr(self._trainer.train_dataloader, "sizes", None)
        if sizes is None:  # not the loader of our titles: as Lightning does it
            self.loss = loss.detach()
            return loss
        share = sizes.share(batch_idx, self._trainer.global_rank)
        self._keep_loss(loss.detach(), share, begins=batch_idx % sizes.accumulate == 0)
        if self._trainer._logger_connector.should_update_logs:  # costs a millisecond
            self.log("train/loss", self.loss, logger=False)  # for callbacks; loggers have it from `LogMetrics`
        weight = share * sizes.accumulate * sizes.world_size
        return loss if weight == 1 else loss * weight

    def _keep_loss(self, loss: Tensor, share: float, begins: bool) -> None:
        """Keep the mean over the targets of this update's micro-batches in `self.loss`."""
        self._loss_parts = [] if begins else self._loss_parts
        self._loss_parts.append((loss, share))
        if len(self._loss_parts) == 1:
            self.loss = loss
        else:
            whole = sum(part for _, part in self._loss_parts)
            self.loss = sum(nats * part for nats, part in self._loss_parts) / max(whole, 1e-9)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the global norm and keep the norm that the gradient had; callbacks may look at both."""
        limit = float("inf") if gradient_clip_val is None else gradient_clip_val
        self.grad_norm = nn.utils.clip_grad_norm_(self.net.parameters(), limit)
        for callback in self.trainer.callbacks:
            if hasattr(callback, "on_gradient"):  # the last moment before the update
                callback.on_gradient(self.trainer, self)

    def score(self, batch: ScoringBatch) -> tuple[Tensor, Tensor]:
        """(nats, index of the title) of each of the batch's N scored tokens, both (N,)."""
        hidden = self.net.hidden(batch.inputs, batch.document_ids, batch.positions)
        scored = batch.targets != IGNORED
        return token_losses(hidden[scored], self.net.head.weight, batch.targets[scored]), batch.titles[scored]

    def on_validation_epoch_start(self) -> None:
        """Start new sums, one for each title."""
        self._scores = TitleScores(len(self.trainer.datamodule.validation)).to(self.device)

    def validation_step(self, batch: ScoringBatch, batch_idx: int) -> None:
        """Add the nats of the batch's scored tokens to their titles."""
        self._scores.update(*self.score(batch))

    def on_validation_epoch_end(self) -> None:
        """The metrics of `docs/metrics.md`, logged and kept in `self.metrics`."""
        sizes = self.trainer.datamodule.sizes
        self.metrics = dict(honest_metrics(*self._scores.compute(), sizes, partial=self.partial_validation))
        self._add_metrics("always")
        for callback in self.trainer.callbacks:
            if hasattr(callback, "on_validated"):  # one that ends the run here does so before the end's metrics are due
                callback.on_validated(self.trainer, self)
        if self._ends_here():
            self._add_metrics("end")
        known = {name: torch.tensor(value) for name, value in self.metrics.items() if value is not None}
        self.log_dict(known, rank_zero_only=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer over decay groups, and the schedule stepped once an update."""
        optimizer = optimizer_of(self.net, self.make_optimizer)
        # Under 16-mixed a fused optimizer would divide by the loss's scale in its update, after the clipping.
        optimizer._step_supports_amp_scaling = False
        self._scale_to_batch(optimizer)
        self.total_steps = planned_steps(self.trainer)
        scheduler = self.make_scheduler(optimizer, total_steps=self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _scale_to_batch(self, optimizer: Optimizer) -> None:
        """Multiply every peak rate as `lr_scaling` asks, and say what became of the first."""
        if self.lr_scaling == "none":
            return
        trainer, meant = self.trainer, self.lr_scaling_rows
        rows = trainer.datamodule.epoch_sizes(trainer).update_rows
        factor, peak = LR_SCALINGS[self.lr_scaling](rows / meant), optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            group["lr"] *= factor
        if trainer.is_global_zero:
            notice(
                f"model.lr_scaling={self.lr_scaling}: {rows} rows an update where {meant} are meant;"
                f" the peak learning rate is {peak * factor:.4g}, {factor:.4g} x {peak:.4g}"
            )

    def monitored_names(self) -> list[str]:
        """The metrics that every validation has, so that a callback can follow them."""
        names = [f"val/{name}" for name in HONEST]
        names += ["val/mainrun_loss", "val/mainrun_coverage"] if self.original_metric == "always" else []
        return names + (["val/packed_nats_per_char"] if self.packed_metric == "always" else [])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights belong to, and what a run continued behind its last update still has to report."""
        if self.provenance is not None:
            checkpoint["provenance"] = self.provenance
        checkpoint["newest"] = {"metrics": self.metrics, "loss": self.loss, "grad_norm": self.grad_norm}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        newest = checkpoint.get("newest", {})
        self.metrics = newest.get("metrics", {})
        self.loss, self.grad_norm = newest.get("loss"), newest.get("grad_norm")

    def _add_metrics(self, when: str) -> None:
        """Compute those of the original's metrics that are due `when`: `always`, or at the `end` only."""
        data = self.trainer.datamodule
        if self.original_metric == when:
            loss, coverage = original_loss(self, data.validation, data.sizes, data.block_size, data.asked_batch_size)
            self.metrics |= {"val/mainrun_loss": loss, "val/mainrun_coverage": coverage}
        if self.packed_metric == when:
            self.metrics["val/packed_nats_per_char"] = packed_nats_per_char(
                self, data.validation, data.sizes, data.block_size, data.evaluation_tokens
            )

    def _ends_here(self) -> bool:
        trainer = self.trainer
        return trainer.state.fn != "fit" or trainer.should_stop or trainer.global_step >= self.total_steps
