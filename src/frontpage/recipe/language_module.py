"""LanguageModule: what is learned and measured of a net that predicts the next token of titles."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.scoring_rows import ScoringBatch, original_tokens_scored
from frontpage.data.title_data import TitleData
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.accuracy import right_tokens
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.floor import below_floor, floor_of
from frontpage.evaluation.losses import language_loss, next_token_loss, token_losses
from frontpage.evaluation.metrics import HONEST, TitleScores, honest_metrics, ratio_with_error
from frontpage.evaluation.original import original_loss, packed_nats_per_char
from frontpage.machine.flops import training_flops_per_token
from frontpage.models.language_head import LanguageHead
from frontpage.recipe.techniques.composed import Techniques
from frontpage.recipe.techniques.technique import Moment, Reopen, Technique
from frontpage.recipe.training_module import TrainingModule
from frontpage.recipe.update_mean import UpdateMean

WHEN = ("always", "end", "never")


class LanguageModule(TrainingModule):
    """Trains a net that maps tokens (B, T) to logits (B, T, V); a subclass names its `architecture`.

    `optimizer(parameter_groups)` and `scheduler(optimizer, total_steps)` are factories. With `document_mask` a title
    sees nothing of its neighbours in the window. `original_metric` and `packed_metric` say at which validations
    `val/mainrun_loss` and `val/packed_nats_per_char` are computed: `always`, `end`, `never`. With `accuracy` each
    validation has the share of tokens that are the likeliest, `val/accuracy`, and the same of what was trained on since
    the validation before, `train/accuracy`. `technique` has what changes training and no metric, by name
    (recipe/techniques/). All other keys are those of TrainingModule and the architecture's. Raises ValueError.
    """

    writes_text = True

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        document_mask: bool = True,
        original_metric: str = "end",
        packed_metric: str = "end",
        accuracy: bool = False,
        technique: Mapping[str, Technique] | None = None,
        **others: Any,
    ) -> None:
        for key, value in (("original_metric", original_metric), ("packed_metric", packed_metric)):
            if value not in WHEN:
                raise ValueError(f"{key}={value}: one of {' '.join(WHEN)}")
        super().__init__(optimizer=optimizer, scheduler=scheduler, **others)
        self.document_mask = document_mask
        self.original_metric, self.packed_metric = original_metric, packed_metric
        self.accuracy = accuracy
        self.techniques = Techniques(technique)
        self.next_token_loss: Tensor | None = None  # with techniques, of the newest update: nats a target
        self._nats: Tensor | None = None  # the same of the newest micro-batch
        self._update_nats = UpdateMean()
        self._scores: TitleScores | None = None
        self._below_floor = False  # at the newest validation
        self._right: TitleScores | None = None  # right tokens where those have nats
        self.trained_right: Tensor | None = None  # (2,): right ones, and all, since the newest validation

    @classmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> list[Metric]:
        """The honest metrics, and those which some settings bring."""
        of_accuracy = None if settings.get("accuracy") else "model.accuracy=true"

        def needs(key: str) -> str | None:
            return None if settings.get(key) == "always" else f"model.{key}=always"

        return [
            *HONEST,
            Metric("val/mainrun_loss", needs=needs("original_metric")),
            Metric("val/mainrun_coverage", better=None, needs=needs("original_metric")),
            Metric("val/packed_nats_per_char", unit="nats a character", needs=needs("packed_metric")),
            Metric("val/accuracy", HIGHER, error="val/accuracy_se", unit="right tokens", needs=of_accuracy),
            Metric("val/accuracy_se", better=None, needs=of_accuracy),
            Metric("train/accuracy", better=None, unit="right tokens", needs=of_accuracy),
        ]

    @property
    def language_head(self) -> LanguageHead:
        """What text is scored with and drawn from."""
        return self.net.heads["language"]

    def hidden(self, batch: TitleBatch) -> Tensor:
        """What the head reads, (B, T, C), under the run's own document mask."""
        if self.document_mask:
            return self.trunk(batch.inputs, batch.document_ids, batch.positions)
        return self.trunk(batch.inputs)

    def loss_of(self, batch: TitleBatch) -> Tensor:
        """What training descends: mean nats a target token."""
        techniques = self.techniques if self.training else None
        hidden = self.hidden(techniques.read(batch) if techniques else batch)
        if self.accuracy and self.training:
            self._count_right(hidden[: len(batch.targets)], batch.targets)
        head = self.language_head
        if not techniques:
            return next_token_loss(hidden, head.weight, batch.targets, head.cap)
        loss, self._nats = techniques.loss(hidden, head, batch, self._moment())
        return loss

    def _moment(self) -> Moment:
        return Moment(0 if self._trainer is None else self._trainer.global_step, self.total_steps)

    def _count_right(self, hidden: Tensor, targets: Tensor) -> None:
        scored = targets != IGNORED
        right = right_tokens(hidden[scored], self.language_head, targets[scored])
        counts = torch.stack([right.sum(), scored.sum()])
        before = self.trained_right
        self.trained_right = counts if before is None else before.to(counts.device) + counts

    def planned_loss(self, net: nn.Module, states: Tensor, tokens: Tensor) -> Tensor:
        """The same loss, for the estimate of its memory."""
        if not self.techniques:
            return language_loss(net, states, tokens)
        rows = tokens[: len(tokens) // self.passes]
        batch = TitleBatch(rows, rows, torch.zeros_like(rows), rows)
        return self.techniques.planned().loss(states, net.heads["language"], batch, Moment(0, 0))[0]

    @property
    def loss_unit(self) -> str | None:
        """What training descends, in words; none where techniques make something else of it."""
        return None if self.techniques else "nats a token"

    @property
    def passes(self) -> int:
        """How often a title goes through the net each time that it is shown."""
        return self.techniques.passes

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """Hand it on to the techniques."""
        for one in self.techniques.chosen.values():
            one.connect(tokenizer, block_size, reopen)

    @property
    def learns_from(self) -> dict[str, list[str]]:
        """The runs that techniques have opened."""
        chosen = self.techniques.chosen.items()
        return {f"model.technique.{name}.teacher": [*one.teachers_of] for name, one in chosen if one.teachers_of}

    @property
    def phase(self) -> tuple[Any, ...]:
        """The rounds of the net, and which techniques cost something."""
        return (*super().phase, *self.techniques.idle)

    def flops_per_token(self, block_size: int) -> float:
        """Those of the trunk and the language head, which alone a target goes through, in all passes."""
        once = training_flops_per_token(self.net, block_size, heads=("language",))
        return self.passes * once + self.techniques.flops_per_token(block_size)

    def training_values(self) -> dict[str, float]:
        """With techniques, the nats of the next token, which `train/loss` is not."""
        return {} if self.next_token_loss is None else {"train/next_token_loss": float(self.next_token_loss)}

    def _keep_loss(self, loss: Tensor, share: float, begins: bool, joined: bool) -> None:
        """With techniques, keep the nats of the next token as the loss is kept."""
        super()._keep_loss(loss, share, begins, joined)
        nats, self._nats = self._nats, None
        if begins:
            self._update_nats, self.next_token_loss = UpdateMean(), None
        if nats is not None:
            self.next_token_loss = self._update_nats.after(nats, share)
        if joined and self.next_token_loss is not None:  # of one of the update's micro-batches, in every process
            self.next_token_loss = self._update_nats.joined(self._summed)

    def score(self, batch: ScoringBatch) -> tuple[Tensor, Tensor]:
        """(nats, index of the title) of each of the batch's N scored tokens, both (N,)."""
        hidden, targets, titles = self._scored(batch)
        return token_losses(hidden, self.language_head, targets), titles

    def _scored(self, batch: ScoringBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(what the head reads (N, C), target, index of the title, both (N,)) of the batch's N scored tokens."""
        hidden = self.net.hidden(batch.inputs, batch.document_ids, batch.positions)
        scored = batch.targets != IGNORED
        return hidden[scored], batch.targets[scored], batch.titles[scored]

    def on_validation_epoch_start(self) -> None:
        """Start new sums, one for each title."""
        titles = len(self.trainer.datamodule.validation)
        self._scores = TitleScores(titles).to(self.device)
        self._right = TitleScores(titles).to(self.device) if self.accuracy else None

    def validation_step(self, batch: ScoringBatch, batch_idx: int) -> None:
        """Add the nats of the batch's scored tokens to their titles."""
        self._scores.update(*self.score(batch))
        if self._right is not None:
            hidden, targets, titles = self._scored(batch)
            self._right.update(right_tokens(hidden, self.language_head, targets), titles)

    def measured(self) -> dict[str, float | None]:
        """The metrics of `docs/metrics.md`."""
        data = self.trainer.datamodule
        nats, scored = self._scores.compute()
        self._below_floor = below_floor(data, nats, scored)
        honest = honest_metrics(nats, scored, data.sizes, partial=self.partial_validation)
        return honest | self._accuracies() | self._of_the_stream("always")

    def _accuracies(self) -> dict[str, float]:
        """Of the tokens scored, with the error over titles; and of those trained on since the newest validation."""
        if self._right is None:
            return {}
        right, scored = (part.reshape(-1) for part in self._right.compute())  # of all processes
        share, error = ratio_with_error(right[scored > 0], scored[scored > 0].double())
        found = {"val/accuracy": share, "val/accuracy_se": error}
        if self.trained_right is not None:
            trained, seen = self._summed(self.trained_right.to(self.device)).tolist()
            found["train/accuracy"] = trained / max(seen, 1)
            self.trained_right = None
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What was counted since the newest validation belongs to it, too."""
        super().on_save_checkpoint(checkpoint)
        if self.trained_right is not None:
            checkpoint["newest"]["trained_right"] = self._summed(self.trained_right.to(self.device).clone()).cpu()
        if self.next_token_loss is not None:
            checkpoint["newest"]["next_token_loss"] = self.next_token_loss
        if self.techniques.opened:
            checkpoint["newest"]["opened"] = self.techniques.opened

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        super().on_load_checkpoint(checkpoint)
        self.next_token_loss = checkpoint.get("newest", {}).get("next_token_loss")
        opened = checkpoint.get("newest", {}).get("opened", [])
        if opened and self.techniques.opened and opened != self.techniques.opened:
            notice("model.technique.distillation.teacher: its weights are others than before, and the run goes on so")
        counts = checkpoint.get("newest", {}).get("trained_right")
        first = self._trainer is None or self._trainer.is_global_zero  # the counts are of all processes
        self.trained_right = None if counts is None else counts if first else torch.zeros_like(counts)

    def measured_at_end(self) -> dict[str, float | None]:
        """Those of the stream that only the last validation has."""
        return self._of_the_stream("end")

    def _of_the_stream(self, when: str) -> dict[str, float | None]:
        """Those of the original's metrics that are due `when`: `always`, or at the `end` only."""
        data, found = self.trainer.datamodule, {}
        if not getattr(data, "whole_texts", True):  # a stream of all tokens is not what such a net has learned
            return found
        if self.original_metric == when:
            loss, coverage = original_loss(self, data.validation, data.sizes, data.block_size, data.asked_batch_size)
            found |= {"val/mainrun_loss": loss, "val/mainrun_coverage": coverage}
        if self.packed_metric == when:
            found["val/packed_nats_per_char"] = packed_nats_per_char(
                self, data.validation, data.sizes, data.block_size, data.evaluation_tokens
            )
        return found

    def check(self, data: TitleData, followed: set[str | None]) -> None:
        """Raise a UserError for tasks without a head here, and for a number of the original's of which no span fits."""
        others = [name for name in getattr(data, "example_tasks", {}) if name not in getattr(self, "tasks", {})]
        if others:
            allowed = f"lm_only, since {type(self).__name__} learns the next token alone; or model=deep_narrow"
            raise BadValue("tasks", " ".join(others), allowed)
        if "val/mainrun_loss" in followed:
            tokens = len(data.validation.tokens)
            fits = original_tokens_scored(tokens, data.block_size, data.asked_batch_size) > 0
            allowed = (
                f"no span of block_size x batch_size fits into the {tokens} validation tokens, so there would be no"
            )
            if not fits:
                raise BadValue("data.batch_size", data.asked_batch_size, f"{allowed} val/mainrun_loss to follow")

    def validation_line(self) -> str:
        """The loss, the headline with its error, and the original's number where there is one."""
        metrics = self.metrics
        line = f"nats_per_char={metrics['val/nats_per_char']:.4f}±{metrics['val/nats_per_char_se']:.4f}"
        if metrics.get("val/mainrun_coverage"):
            loss, share = metrics["val/mainrun_loss"], metrics["val/mainrun_coverage"]
            line += f" (mainrun_loss={loss:.4f} at coverage {share:.3f})"
        if metrics.get("val/accuracy") is not None:
            trained = metrics.get("train/accuracy")
            line += f" accuracy={metrics['val/accuracy']:.4f}" + ("" if trained is None else f" (train {trained:.4f})")
        return line

    def summary_rows(self, final: Mapping[str, Any], best: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The honest metrics, and those of the stream where there are any."""
        error, loss = final["val/nats_per_char_se"], final["val/loss"]
        headline = f"{final['val/nats_per_char']:.4f} ± {error:.4f}, best {best['val/nats_per_char']:.4f}"
        rows = [
            ("val/loss", f"{loss:.4f} nats a token (perplexity {final['val/perplexity']:.2f})"),
            ("val/nats_per_char", headline),
            ("val/bits_per_byte", f"{final['val/bits_per_byte']:.4f}"),
            ("val/coverage", f"{final['val/coverage']:.4g}"),
        ]
        for name in ("val/packed_nats_per_char", "val/accuracy", "train/accuracy"):
            if final.get(name) is not None:
                rows.append((name, f"{final[name]:.4f}"))
        if "val/mainrun_coverage" in final:
            loss, share = final["val/mainrun_loss"], final["val/mainrun_coverage"]
            shown = "none: no span fits" if loss is None else f"{loss:.4f}"
            rows.append(("val/mainrun_loss", f"{shown} (of {share:.1%} of the tokens: no loss, see docs/metrics.md)"))
        return rows

    def floor_rows(self, final: Mapping[str, Any], data: TitleData) -> list[tuple[str, str]]:
        """How far the run is from the floor of its corpus, where that is known."""
        floor = floor_of(data)
        if floor is None:
            return []
        least = floor["floor/nats_per_char"]
        at = final["val/nats_per_char"] / least
        rows = [("floor of the grammar", f"{least:.4f} nats a character; this run is at {at:.3f} of it")]
        if self._below_floor:
            rows.append(("", "no model can be below it: this one has seen what it should predict"))
        return rows
