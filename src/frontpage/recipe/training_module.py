"""TrainingModule: how any net learns - optimizer, schedule, accumulation, clipping, compile, what a checkpoint keeps.

What it learns, and what is measured of it, a subclass says: `LanguageModule` of titles, another one of other tasks.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.limits import Count, OneOf
from frontpage.command.notices import notice
from frontpage.command.points import Course
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.declared import Metric, measured_always
from frontpage.machine.flops import training_flops_per_token
from frontpage.recipe.compiling import AUTO, worth_compiling
from frontpage.recipe.parameter_groups import LR_SCALINGS, optimizer_of
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.recipe.sharded_tensors import clip_gradients
from frontpage.recipe.steps import planned_steps, sizes_now
from frontpage.recipe.techniques.technique import Reopen
from frontpage.recipe.update_mean import UpdateMean
from frontpage.recipe.weight_decay import WeightDecay


class TrainingModule(L.LightningModule):
    """Trains a net: a trunk, `hidden(tokens, ...)` -> (B, T, C), and `heads` by name. A subclass names its class.

    A subclass declares `declared_metrics` (the first is its headline) and its `losses`, and says what training
    descends (`loss_of`) and what a validation measures (`measured`). `optimizer(parameter_groups)` and
    `scheduler(optimizer, total_steps)` are factories. `lr_scaling` says how the learning rate follows the rows of an
    update, `lr_scaling_rows` how many the optimizer's `lr` is meant for. `weight_decay_of_others` is the decay of
    weights that are no matrices of linear layers; that of matrices is the optimizer's. With `partial_validation` a
    share of the validation set may be measured. All other keys are the architecture's. Raises ValueError.
    """

    architecture: type[nn.Module]
    losses: tuple[str, ...] = ("val/loss",)  # of every validation; one that is no finite number ends the run
    loss_unit: str | None = None  # of what training descends, in words
    writes_text = False  # whether text can be drawn from the head `language`
    document_mask = True  # whether an example sees nothing of its neighbours in a row
    passes = 1  # how often an example goes through the net each time that it is shown

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        compile: bool | str = AUTO,
        partial_validation: bool = False,
        lr_scaling: Annotated[str, OneOf(*LR_SCALINGS)] = "none",
        lr_scaling_rows: Count = 64,
        weight_decay_of_others: Course = 0.0,
        **architecture: Any,
    ) -> None:
        super().__init__()
        if compile not in (True, False, AUTO):
            raise ValueError(f"compile={compile}: true, false or {AUTO}")
        if lr_scaling not in LR_SCALINGS:
            raise ValueError(f"lr_scaling={lr_scaling}: one of {' '.join(LR_SCALINGS)}")
        self.net = accelerate(self.architecture(**architecture))
        self._compiled_hidden: Callable[..., Tensor] | None = None
        self.weight_decay = WeightDecay.of(optimizer, weight_decay_of_others)
        self.make_optimizer, self.make_scheduler = self.weight_decay.at_first(optimizer), scheduler
        self.precision_mode: PrecisionMode | None = None  # beside Lightning's precision; see `train_in`
        self._converted = False
        self.compile_net, self.partial_validation = compile, partial_validation
        self.lr_scaling, self.lr_scaling_rows = lr_scaling, lr_scaling_rows
        self.total_steps = 0  # optimizer updates of the whole run, known when training starts
        self.metrics: dict[str, float | None] = {}  # of the newest validation, unrounded
        self.loss: Tensor | None = None  # mean a target of the newest update, of its micro-batches so far
        self.newest_task: tuple[str, Tensor] | None = (
            None  # of the newest micro-batch, and its loss, where tasks differ
        )
        self._losses = UpdateMean()
        self.grad_norm: Tensor | None = None  # before clipping, of the newest update
        self.provenance: dict[str, Any] | None = None  # of frontpage.runs.provenance: what the weights belong to

    # What a subclass declares.

    @classmethod
    @abstractmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> list[Metric]:
        """What validations measure, the headline first, under `config.model` (or a module's attributes of its names).

        It is asked before anything is built.
        """

    @property
    def declared(self) -> list[Metric]:
        """What this module's validations measure, the headline first."""
        return self.declared_metrics(vars(self))

    @property
    def headline(self) -> Metric:
        """The metric that says how good the weights are."""
        return self.declared[0]

    def monitored_names(self) -> list[str]:
        """The metrics that every validation has, so that a callback can follow them."""
        return measured_always(self.declared)

    @abstractmethod
    def loss_of(self, batch: Any) -> Tensor:
        """What training descends: the mean over the targets of a batch, or of some of its rows."""

    @abstractmethod
    def measured(self) -> dict[str, float | None]:
        """The metrics of the validation that is over, by name; those that are `losses` among them."""

    def measured_at_end(self) -> dict[str, float | None]:
        """More metrics, of a run's last validation alone."""
        return {}

    def planned_loss(self, net: nn.Module, states: Tensor, tokens: Tensor) -> Tensor:
        """A loss that takes as much memory as a step's, for the estimate: `states` (B, T, C) of `tokens` (B, T).

        `net` stands for the module's own; B are the rows of a micro-batch in all `passes`. Raises NotImplementedError
        where nobody has said.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss holds")

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """Take what is known once the data is read, before a run begins; `reopen` opens another run."""

    @property
    def learns_from(self) -> dict[str, list[str]]:
        """{key of the config: directories} of other runs that it has opened to learn from."""
        return {}

    @property
    def learns_from_batches(self) -> bool:
        """Whether a loss is of a whole micro-batch rather than of each row, so that its size matters."""
        return False

    @property
    def phase(self) -> tuple[Any, ...]:
        """What `flops_per_token` depends on in the newest update: equal while that stays as it is."""
        return (self.net.rounds,)

    def flops_per_token(self, block_size: int) -> float:
        """Operations of training a target in a document of `block_size` tokens."""
        return training_flops_per_token(self.net, block_size)

    def flops_of_examples(self, batch: Any) -> float:
        """Operations of training a batch of examples, of which no place is a target (it tells its `tokens_read`)."""
        return batch.tokens_read * self.flops_per_token(batch.tokens.shape[-1])

    def trained_in_turns(self) -> list[nn.Parameter]:
        """Weights that some updates do not train, so that a young run may not have trained them at all."""
        return []

    def training_values(self) -> dict[str, float]:
        """More numbers for the logs at a logging step, by name, such as the loss of each task (`train/...`)."""
        return {}

    def newest_values(self) -> dict[str, float]:
        """The same for the run's record, at any update."""
        return self.training_values()

    def on_logged(self) -> None:
        """A logging step is over: what is a mean since the newest one begins anew."""

    def check(self, data: L.LightningDataModule, followed: set[str | None]) -> None:
        """Raise a UserError where a run of `data` could not measure a metric that is `followed`."""

    def validation_line(self) -> str:
        """What the console shows of a validation, beside its update, its loss and the time."""
        return f"{self.headline.name.removeprefix('val/')}={_with_error(self.headline, self.metrics)}"

    def summary_rows(self, final: Mapping[str, Any], best: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What the console shows of a run's metrics at its end: names and words."""
        rows = []
        for metric in self.declared:
            if final.get(metric.name) is not None and metric.name not in {one.error for one in self.declared}:
                more = f", best {best[metric.name]:.4f}" if metric == self.headline else ""
                unit = f" {metric.unit}" if metric.unit else ""
                rows.append((metric.name, f"{_with_error(metric, final)}{unit}{more}"))
        return rows

    def floor_rows(self, final: Mapping[str, Any], data: L.LightningDataModule) -> list[tuple[str, str]]:
        """What the console shows of the least loss that is possible, where that is known: names and words."""
        return []

    # How any net learns.

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T), each row one document -> what the net gives, logits (B, T, V) of a language model."""
        return self.net(tokens)

    def train_in(self, mode: PrecisionMode | None) -> None:
        """Let training go by a precision mode, which may bring its own optimizer; UserError where it cannot."""
        if mode is not None:
            mode.check_net(self.net)
            self.precision_mode, self.make_optimizer = mode, mode.optimizer(self.make_optimizer)

    def configure_model(self) -> None:
        """Convert the net to the precision mode, then compile what a training step runs.

        Validation and generation, whose shapes vary, are not compiled.
        """
        if self.precision_mode is not None and not self._converted:
            self.precision_mode.convert(self.net)
            self._converted = True
        if self.compile_net == AUTO:
            self.compile_net = worth_compiling(self.trainer.strategy.root_device)
        if self.compile_net:
            self._compiled_hidden = torch.compile(self.net.hidden)

    @property
    def trunk(self) -> Callable[..., Tensor]:
        """(tokens, document_ids, positions), each (B, T) -> what the heads read (B, T, C); compiled in training."""
        return self._compiled_hidden if self.training and self._compiled_hidden else self.net.hidden

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Tell what is added to the net how far the run is."""
        for addition in self.net.additions.values():
            addition.at(self.trainer.global_step / self.total_steps)

    def on_train_start(self) -> None:
        """Take the rate of the next update from the schedule as it is now: a checkpoint brings that of its own."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, LambdaLR):
            rates = zip(self.optimizers().param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
            for group, peak, factor in rates:
                group["lr"] = peak * factor(schedule.last_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The mean loss a target, weighed so that an update descends the mean over all of its targets.

        Lightning divides by the batches of a full update and takes the mean over the processes; both is undone here,
        since the last update of an epoch has fewer batches, and the last batch fewer targets.
        """
        loss = self.loss_of(batch)
        sizes = None if self._trainer is None else sizes_now(self._trainer)
        if sizes is None:  # not the loader of a run's data: as Lightning does it
            self.loss = loss.detach()
            return loss
        share = sizes.share(batch_idx, self._trainer.global_rank)
        begins = batch_idx % sizes.accumulate == 0
        ends = (batch_idx + 1) % sizes.accumulate == 0 or batch_idx + 1 == sizes.batches
        self._keep_loss(loss.detach(), share, begins, ends and self._trainer.world_size > 1)
        if self._trainer._logger_connector.should_update_logs:  # costs a millisecond
            self.log("train/loss", self.loss, logger=False)  # for callbacks; loggers have it from `LogMetrics`
        weight = share * sizes.accumulate * sizes.world_size
        return loss if weight == 1 else loss * weight

    def _keep_loss(self, loss: Tensor, share: float, begins: bool, joined: bool) -> None:
        """Keep the mean over the targets of this update's micro-batches in `self.loss`.

        They are this process's own, or with `joined` those of all processes.
        """
        if begins:
            self._losses = UpdateMean()
        self.loss = self._losses.after(loss, share)
        if joined:
            self.loss = self._losses.joined(self._summed)

    def _summed(self, own: Tensor) -> Tensor:
        """The sum over all processes; a collective."""
        return self.trainer.strategy.reduce(own, reduce_op="sum")

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Set the decay of this update."""
        if not self.weight_decay.as_built:
            self.weight_decay.set(optimizer, self.trainer.global_step, self.total_steps)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the global norm and keep the norm that the gradient had; callbacks may look at both."""
        limit = float("inf") if gradient_clip_val is None else gradient_clip_val
        self.grad_norm = clip_gradients(self.net.parameters(), limit)
        for callback in self.trainer.callbacks:
            if hasattr(callback, "on_gradient"):  # the last moment before the update
                callback.on_gradient(self.trainer, self)

    def on_validation_epoch_end(self) -> None:
        """Keep what was measured in `self.metrics`, and log it."""
        self.metrics = self.measured()
        for callback in self.trainer.callbacks:
            if hasattr(callback, "on_validated"):  # one that ends the run here does so before the end's metrics are due
                callback.on_validated(self.trainer, self)
        if self._ends_here():
            self.metrics |= self.measured_at_end()
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
        rows = trainer.datamodule.run_sizes(trainer).of(0).update_rows
        factor, peak = LR_SCALINGS[self.lr_scaling](rows / meant), optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            group["lr"] *= factor
        if trainer.is_global_zero:
            notice(
                f"model.lr_scaling={self.lr_scaling}: {rows} rows an update where {meant} are meant;"
                f" the peak learning rate is {peak * factor:.4g}, {factor:.4g} x {peak:.4g}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights belong to, and what a run continued behind its last update still has to report."""
        if self.precision_mode is not None:
            self.precision_mode.save(self.net, checkpoint)
        if self.provenance is not None:
            checkpoint["provenance"] = self.provenance
        checkpoint["newest"] = {"metrics": self.metrics, "loss": self.loss, "grad_norm": self.grad_norm}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        if self.precision_mode is not None:
            self.precision_mode.load(checkpoint)
        newest = checkpoint.get("newest", {})
        self.metrics = newest.get("metrics", {})
        self.loss, self.grad_norm = newest.get("loss"), newest.get("grad_norm")

    def _ends_here(self) -> bool:
        trainer = self.trainer
        return trainer.state.fn != "fit" or trainer.should_stop or trainer.global_step >= self.total_steps


def _with_error(metric: Metric, values: Mapping[str, float | None]) -> str:
    """A value, with its standard error where there is one."""
    error = values.get(metric.error) if metric.error else None
    return f"{values[metric.name]:.4f}" + ("" if error is None else f"±{error:.4f}")
