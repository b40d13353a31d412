"""GradientNoiseScale: the batch size beyond which larger batches hardly save updates."""

from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from tqdm import tqdm

from frontpage.command.errors import BadValue
from frontpage.command.limits import Count, ShareBelow1
from frontpage.command.notices import notice
from frontpage.data.packing import IGNORED, TitleBatch, rows_of
from frontpage.training.callbacks.process_times import gathered


class Estimate(NamedTuple):
    """Unbiased estimates of the squared norm of the true gradient, and of tr(Sigma), the variance of one sample's."""

    gradient_square: float
    variance: float


def estimate(small_square: float, big_square: float, small: float, big: float) -> Estimate:
    """From the squared norms of the mean gradients of `small` and of `big` samples (McCandlish et al. 2018, A.1).

    The expected squared norm at batch size b is |G|^2 + tr(Sigma)/b; two sizes give both. Either may come out negative.
    """
    gradient_square = (big * big_square - small * small_square) / (big - small)
    return Estimate(gradient_square, (small_square - big_square) / (1 / small - 1 / big))


class GradientNoiseScale(L.Callback):
    """Logs the simple noise scale tr(Sigma)/|G|^2, measured every `every` updates (McCandlish et al. 2018, A.1).

    A sample is a row of `block_size` tokens: rows are drawn independently, the tokens of one row are not.
    `noise_scale/rows` counts rows, `noise_scale/tokens` their tokens, `noise_scale/batch_tokens` the tokens of an
    update now. Both estimates are averaged before they are divided, each measurement weighing `smoothing` times the
    next. With gradient accumulation the first micro-batch's gradient is compared with the update's, at no cost; without
    it the two halves of a batch, at the cost of one more forward and backward pass. Clipping comes later, dropout
    counts as noise, batches with padding are left out. Of several processes each has its own first micro-batch or
    halves, and the estimate is the mean of theirs. Training is not disturbed. Raises UserError (`check`).
    """

    def __init__(self, every: Count = 10, smoothing: ShareBelow1 = 0.95) -> None:
        self.every, self.smoothing = every, smoothing
        self.measurements = 0
        self._sums = Estimate(0.0, 0.0)  # moving averages that began at 0, which `average` corrects
        self._rows = self._row_tokens = 0  # of an update, and of a row
        self._first: Tensor | None = None  # the first micro-batch's squared norm
        self._micro_batches: list[int] = []  # rows of those of the update being measured; 0 for one with padding

    @property
    def average(self) -> Estimate:
        """Both estimates over the measurements so far, of which there must be one."""
        weight = 1 - self.smoothing**self.measurements
        return Estimate(self._sums.gradient_square / weight, self._sums.variance / weight)

    @property
    def rows(self) -> float | None:
        """The noise scale in rows; None where nothing was measured, or an average is not positive yet."""
        if not self.measurements or min(self.average) <= 0:
            return None
        return self.average.variance / self.average.gradient_square

    def check(self, trainer: L.Trainer, batch_size: int) -> None:
        """Raise a UserError where nothing can be measured; `batch_size` counts the rows of a micro-batch."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise BadValue(
                "callbacks",
                "noise_scale",
                "another one: a process of trainer.strategy=fsdp has parts of the gradients only",
            )
        unscaled = "callbacks=noise_scale needs gradients that are not scaled: 32-true bf16-mixed bf16-true"
        if "16-mixed" == str(trainer.precision):
            raise BadValue("trainer.precision", trainer.precision, unscaled)
        if batch_size < 2 and trainer.accumulate_grad_batches == 1:
            allowed = "callbacks=noise_scale halves a batch: at least 2, or trainer.accumulate_grad_batches above 1"
            raise BadValue("data.batch_size", batch_size, allowed)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: TitleBatch, batch_idx: int
    ) -> None:
        """Measure a batch's halves; or begin to measure an update of several micro-batches."""
        if trainer.accumulate_grad_batches == 1:
            if trainer.global_step % self.every == 0:
                self._measure_halves(trainer, pl_module, batch)
            return
        begins = batch_idx % trainer.accumulate_grad_batches == 0
        if begins:
            self._first, self._micro_batches = None, []
        if self._micro_batches or (begins and trainer.global_step % self.every == 0):
            even = _even_rows(batch)
            self._micro_batches.append(even)
            self._row_tokens = even[1] or self._row_tokens

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the norm of the first micro-batch, whose gradient is alone in the buffers now."""
        if len(self._micro_batches) == 1 and self._first is None:
            self._first = _square(_gradients(pl_module))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Compare the first micro-batch with all of them, before clipping."""
        parts, self._micro_batches = self._micro_batches, []
        if len(parts) < 2:
            return  # not measured; one batch, at an epoch's end
        # The gradients are those of the update's mean; the first's was divided by the number of equal parts.
        small = float(self._first) * len(parts) ** 2
        found = gathered(trainer, (small, parts))
        sizes = {size for _, of_process in found for size in of_process}
        if len(sizes) > 1 or sizes == {(0, 0)}:
            return  # the mean of the update weighs rows unequally
        small, big = sum(one for one, _ in found) / len(found), float(_square(_gradients(pl_module)))
        rows = sum(size for size, _ in parts) * len(found)
        self._add(estimate(small, big, parts[0][0], rows), rows=rows)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TitleBatch, batch_idx: int
    ) -> None:
        """Log at logging steps, once there is a measurement."""
        if self.measurements and trainer._logger_connector.should_update_logs:
            pl_module.log_dict(self._metrics())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what was found."""
        if not trainer.is_global_zero:
            return
        if not self.measurements:
            notice("callbacks=noise_scale: no measured update was without padding; take more titles or smaller batches")
            return
        batch = f"an update has {self._rows * self._row_tokens:,} tokens ({self._rows:,} rows)"
        if self.rows is None:
            tqdm.write(f"gradient noise scale: not known after {self.measurements} measurements; {batch}")
        else:
            found = f"{self.rows * self._row_tokens:,.0f} tokens ({self.rows:,.1f} rows)"
            tqdm.write(f"gradient noise scale: {found} after {self.measurements} measurements; {batch}")

    def state_dict(self) -> dict[str, Any]:
        """The averages so far."""
        sizes = {"rows": self._rows, "row_tokens": self._row_tokens}
        return {"measurements": self.measurements, "sums": [*self._sums], **sizes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's averages."""
        self.measurements, self._sums = state_dict["measurements"], Estimate(*state_dict["sums"])
        self._rows, self._row_tokens = state_dict["rows"], state_dict["row_tokens"]

    def _measure_halves(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: TitleBatch) -> None:
        even = _even_rows(batch)
        own = (self._halves(trainer, pl_module, batch), even) if even[0] > 1 else None
        found = gathered(trainer, own)
        measured = [one for one in found if one is not None]
        if measured:
            estimates, ((rows, self._row_tokens), *_) = zip(*measured, strict=True)
            mean = Estimate(*(sum(values) / len(measured) for values in zip(*estimates, strict=True)))
            self._add(mean, rows=rows * len(found))

    @staticmethod
    def _halves(trainer: L.Trainer, pl_module: L.LightningModule, batch: TitleBatch) -> Estimate:
        """From both halves of a batch of this process's own."""
        half = len(batch.targets) // 2
        parameters = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        counted = getattr(pl_module, "trained_right", None)  # the step counts these rows itself
        halves, devices = [], [pl_module.device] if pl_module.device.type == "cuda" else []
        # autograd.grad leaves .grad alone, and what joins processes, too; compiled code would be compiled again for
        # another size, and stay so.
        with (
            torch.random.fork_rng(devices=devices),
            torch.compiler.set_stance("force_eager"),
            trainer.precision_plugin.train_step_context(),
        ):
            for rows in (slice(half), slice(half, 2 * half)):
                loss = pl_module.loss_of(rows_of(batch, rows))
                halves.append(torch.autograd.grad(loss, parameters, allow_unused=True))
        if hasattr(pl_module, "trained_right"):
            pl_module.trained_right = counted
        pairs = [(one.float(), other.float()) for one, other in zip(*halves, strict=True) if one is not None]
        small = sum(float(_square(side)) for side in zip(*pairs, strict=True)) / 2
        big = float(_square([one + other for one, other in pairs])) / 4
        return estimate(small, big, half, 2 * half)

    def _add(self, one: Estimate, rows: int) -> None:
        kept, new = self.smoothing, 1 - self.smoothing
        self._sums = Estimate(*(kept * old + new * value for old, value in zip(self._sums, one, strict=True)))
        self.measurements, self._rows = self.measurements + 1, rows

    def _metrics(self) -> dict[str, float]:
        average = self.average
        metrics = {
            "noise_scale/gradient_square": average.gradient_square,
            "noise_scale/variance": average.variance,
            "noise_scale/batch_tokens": float(self._rows * self._row_tokens),
        }
        if self.rows is not None:
            metrics |= {"noise_scale/rows": self.rows, "noise_scale/tokens": self.rows * self._row_tokens}
        return metrics


def _even_rows(batch: TitleBatch) -> tuple[int, int]:
    """(rows of a batch, targets of each); of rows 0 where one has padding, which would weigh more a token, or none.

    It waits for the device.
    """
    targets = getattr(batch, "targets", None)  # examples of another task have none
    if targets is None:
        return 0, 0
    counts = (targets != IGNORED).sum(1)
    even = bool((counts == counts.max()).all()) and int(counts.max()) > 0
    return (len(targets), int(counts[0])) if even else (0, 0)


def _gradients(module: L.LightningModule) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def _square(gradients: Any) -> Tensor:
    """The squared norm of all gradients together, in fp32."""
    return torch.nn.utils.get_total_norm([gradient.float() for gradient in gradients]) ** 2
