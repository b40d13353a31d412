"""MultiTaskModule: a language model that learns tasks on pairs of texts beside the next token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from hydra.utils import get_object
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from frontpage.command.errors import BadValue
from frontpage.command.limits import OneOf
from frontpage.command.points import CourseLimit, Points
from frontpage.data.parallel.examples import Examples, PairBatch
from frontpage.data.parallel.loader import LM
from frontpage.data.parallel.parallel_data import VALIDATION, ParallelData
from frontpage.data.parallel.text import ParallelText
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.declared import Metric
from frontpage.evaluation.metrics import honest_metrics
from frontpage.machine.flops import training_flops_per_token
from frontpage.models.text_heads import POOLINGS, Centred, pooled
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.tasks.task import ExampleTask, Task
from frontpage.recipe.tasks.task_means import TaskMeans
from frontpage.recipe.techniques.technique import Reopen


class MultiTaskModule(LanguageModule):
    """Trains a language model, and with `tasks` heads of its own for each of them.

    A micro-batch is of one task, windows of documents (TitleBatch) or examples (PairBatch). All texts of a micro-batch
    go through the trunk at once; `pooling` says how a text becomes a vector. `val/loss` is that of the next token, on
    clean text. All other keys are those of LanguageModule. Raises ValueError.
    """

    def __init__(
        self,
        *,
        tasks: dict[str, Task] | None = None,
        pooling: Annotated[str, OneOf(*POOLINGS)] = "mean",
        **others: Any,
    ) -> None:
        super().__init__(**others)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling}: one of {' '.join(POOLINGS)}")
        self.tasks, self.pooling = dict(tasks or {}), pooling
        for name, task in self.example_tasks.items():
            self.net.add_head(name, task.head(self.net.widths[0]))
        self._trunk_flops: dict[tuple[int, int], float] = {}  # a token, by the length of its row and the net's rounds
        self._judged: dict[str, list[Tensor]] = {}
        self._judged_losses: dict[str, list[Tensor]] = {}  # summed over the examples of a batch
        self._task_means = TaskMeans()  # of the losses, unscaled

    def setup(self, stage: str) -> None:
        """With several processes, let heads go without a gradient: those of the tasks that an update does not train."""
        strategy = self.trainer.strategy
        if self.example_tasks and isinstance(strategy, DDPStrategy):
            strategy._ddp_kwargs.setdefault("find_unused_parameters", True)

    @property
    def loss_unit(self) -> str | None:
        """What training descends, in words: a mixture where there are several tasks."""
        return None if self.example_tasks else super().loss_unit

    @property
    def example_tasks(self) -> dict[str, ExampleTask]:
        """The tasks that have heads of their own."""
        return {name: task for name, task in self.tasks.items() if name != LM}

    @classmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> list[Metric]:
        """Those of the language task, and those of the others; of a module without it, theirs stand first.

        One that never has a weight has no examples, so that nothing of it is measured; where the language task has
        none, its metrics are those of a head that nothing trains, and nothing can follow them.
        """
        language, tasks = super().declared_metrics(settings), settings.get("tasks") or {}
        trained, others = {name: task for name, task in tasks.items() if not _is_idle(task)}, []
        for name, task in trained.items():
            if name != LM:
                others += [*_class_of(task).metrics(name), Metric(f"val/{name}/loss")]
        if len(trained) > 1:
            others.append(Metric("val/loss_mixture"))
        if LM in trained or not trained:
            return [*language, *others]
        return [*others, *(replace(metric, needs=f"a weight of tasks.{LM}") for metric in language)]

    @property
    def learns_from_batches(self) -> bool:
        """With a task that compares the examples of a micro-batch, or takes off what they have in common."""
        centred = any(isinstance(part, Centred) for part in self.net.heads.modules())
        return centred or any(task.compares for task in self.example_tasks.values())

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """As of any net; UserError for techniques that nothing would use, since they act on the language task."""
        super().connect(tokenizer, block_size, reopen)
        if self.techniques and self.tasks and (LM not in self.tasks or _is_idle(self.tasks[LM])):
            allowed = f"null: techniques act on the language task, and tasks.{LM} has no weight"
            raise BadValue("model.technique", " ".join(self.techniques.chosen), allowed)

    def loss_of(self, batch: Any) -> Tensor:
        """The mean loss of the batch's task, times its `loss_scale` at this update."""
        name = batch.task if isinstance(batch, PairBatch) else LM
        if isinstance(batch, PairBatch):
            loss = self._loss_of_examples(batch, self.vectors(batch))
        else:
            loss = super().loss_of(batch)
        self.newest_task = name, loss.detach()
        task = self.tasks.get(name)
        scale = 1.0 if task is None else task.loss_scale.at(0 if self._trainer is None else self._trainer.global_step)
        return loss if scale == 1 else loss * scale

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """As of any net; the loss of the task is kept for the logs."""
        loss = super().training_step(batch, batch_idx)
        name, unscaled = self.newest_task
        self._task_means.add(name, unscaled)
        return loss

    def vectors(self, batch: PairBatch) -> Tensor:
        """The texts of a batch as vectors (E, M, C), all of them through the trunk at once."""
        states = self.trunk(batch.tokens.flatten(0, 1))
        found = pooled(states, batch.lengths.flatten(), self.pooling) / self.net.logit_scale
        return found.unflatten(0, batch.lengths.shape)

    def _loss_of_examples(self, batch: PairBatch, vectors: Tensor) -> Tensor:
        said = () if batch.right_as_well is None else (batch.right_as_well,)
        return self.tasks[batch.task].loss(self.net.heads[batch.task], vectors, batch.labels, *said)

    def flops_of_examples(self, batch: PairBatch) -> float:
        """Those of the trunk for each token, and of the task's head for as many texts as a product of it reads."""
        row, head = batch.tokens.shape[-1], self.net.heads[batch.task]
        key = row, self.net.rounds
        if key not in self._trunk_flops:
            self._trunk_flops[key] = training_flops_per_token(self.net, row, heads=())
        products = batch.lengths.numel() / head.texts_read
        weights = sum(weight.numel() for weight in head.parameters())
        return batch.tokens_read * self._trunk_flops[key] + 6.0 * weights * products

    def trained_in_turns(self) -> list[nn.Parameter]:
        """The weights of the heads, each of which only its own task trains."""
        return [weight for head in self.net.heads.values() for weight in head.parameters()] if self.tasks else []

    def training_values(self) -> dict[str, float]:
        """The mean loss of each task over its micro-batches since the newest logging step, unscaled."""
        return super().training_values() | self._named(self._task_means.since(self._mean))

    def newest_values(self) -> dict[str, float]:
        """The same, and what was logged of tasks that had no micro-batch since."""
        return super().newest_values() | self._named(self._task_means.newest(self._mean))

    def on_logged(self) -> None:
        """Begin the means anew."""
        self._task_means.begin_anew(self._mean)

    def _named(self, means: Mapping[str, float]) -> dict[str, float]:
        return {f"train/{name}/loss": mean for name, mean in means.items()} if self.tasks else {}

    def _mean(self, value: Tensor | float) -> float:
        """The mean over all processes; a collective."""
        if self._trainer is None or self._trainer.world_size == 1:
            return float(value)
        own = torch.as_tensor(value, dtype=torch.float32, device=self.device).clone()
        return float(self.trainer.strategy.reduce(own, reduce_op="mean"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The means belong to it, too."""
        super().on_save_checkpoint(checkpoint)
        if self.tasks:
            checkpoint["newest"]["task_means"] = self._task_means.state(self._mean)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        super().on_load_checkpoint(checkpoint)
        if "task_means" in checkpoint.get("newest", {}):
            self._task_means.load(checkpoint["newest"]["task_means"])

    def on_validation_epoch_start(self) -> None:
        """Start anew."""
        super().on_validation_epoch_start()
        self._judged, self._judged_losses = {}, {}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score documents, or judge examples."""
        if not isinstance(batch, PairBatch):
            super().validation_step(batch, batch_idx)
            return
        task, head = self.tasks[batch.task], self.net.heads[batch.task]
        vectors = self.vectors(batch)
        self._judged.setdefault(batch.task, []).append(task.judged(head, vectors).float().cpu())
        loss = self._loss_of_examples(batch, vectors).double().cpu()
        self._judged_losses.setdefault(batch.task, []).append(loss * len(batch.labels))

    def measured(self) -> dict[str, float | None]:
        """Those of the language task for all text and for each translation, and those of the others."""
        found = super().measured()
        data = self.trainer.datamodule
        if not isinstance(data, ParallelData):
            return found
        found |= self._by_translation(data)
        for name, task in self.example_tasks.items():
            if name in self._judged:
                judged = torch.cat(self._judged[name])
                examples = Examples(*(part[: len(judged)] for part in data.examples[name]))
                found |= task.measured(name, judged, examples, data.sides[VALIDATION])
                found[f"val/{name}/loss"] = float(torch.stack(self._judged_losses[name]).sum() / len(judged))
        return found | self._mixture(found)

    def _mixture(self, found: Mapping[str, float | None]) -> dict[str, float]:
        """The mean of the tasks' losses, as often and as strongly as they are trained in the end."""
        losses = {name: found.get("val/loss" if name == LM else f"val/{name}/loss") for name in self.tasks}
        losses = {name: loss for name, loss in losses.items() if max(self.tasks[name].weight.values) > 0}
        if len(losses) < 2 or None in losses.values():
            return {}
        weights = {name: task.weight.values[-1] for name, task in self.tasks.items()}
        total = sum(weights[name] * self.tasks[name].loss_scale.values[-1] * loss for name, loss in losses.items())
        return {"val/loss_mixture": total / sum(weights.values())}

    def _by_translation(self, data: ParallelData) -> dict[str, float]:
        """The language task of each translation, and of each language."""
        nll, scored = (part.reshape(-1) for part in self._scores.compute())
        found = {}
        for name, numbers in _by_language(data.text).items():
            chosen = torch.from_numpy(np.isin(data.document_translations, numbers))
            sizes = data.sizes.of_some(chosen)
            complete = chosen.any() and bool((scored[chosen] == sizes.tokens).all())
            if complete:  # under debug= a share of the documents is scored
                metrics = honest_metrics(nll[chosen], scored[chosen], sizes)
                for metric in ("nats_per_char", "nats_per_char_se", "bits_per_byte"):
                    found[f"val/{name}/{metric}"] = metrics[f"val/{metric}"]
        return found

    def validation_line(self) -> str:
        """The language task, and the first metric of each other one."""
        parts = [super().validation_line()]
        for name, task in self.example_tasks.items():
            first = task.metrics(name)[0].name
            if first in self.metrics:
                parts.append(f"{name}={self.metrics[first]:.3f}")
        return " ".join(parts)

    def summary_rows(self, final: Mapping[str, Any], best: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The honest metrics of the text and of each translation, then every task beside what guessing would score."""
        rows = super().summary_rows(final, best)
        data = self.trainer.datamodule
        if not isinstance(data, ParallelData):
            return rows
        if len(data.text.texts) > 1:
            for translation in data.text.texts:
                if f"val/{translation}/nats_per_char" in final:
                    value, error = (final[f"val/{translation}/{one}"] for one in ("nats_per_char", "nats_per_char_se"))
                    rows.append((f"  of {translation}", f"{value:.4f} ± {error:.4f}"))
        chances = data.chances()
        for name in data.examples:
            task = self.tasks[name]
            best_possible = task.best_possible((data.text.best or {}).get(name))
            for metric in task.metrics(name):
                if metric.better is None or final.get(metric.name) is None:
                    continue
                error = f" ± {final[metric.error]:.4f}" if metric.error else ""
                said = f"{final[metric.name]:.4f}{error}, chance {chances[metric.name]:.4f}"
                known = best_possible is not None and metric.name.endswith("/accuracy")
                rows.append((metric.name, said + (f", at best {best_possible:.4f}" if known else "")))
        return rows

    def floor_rows(self, final: Mapping[str, Any], data: Any) -> list[tuple[str, str]]:
        """The floor, where it is known, and what a model of single characters scores."""
        rows = super().floor_rows(final, data)
        if isinstance(data, ParallelData):
            rows.append(("characters alone", f"{data.character_nats():.4f} nats a character (their frequencies)"))
        return rows


def _is_idle(task: Any) -> bool:
    """Whether a task, or the node of a config that names it, never has a weight."""
    if isinstance(task, Task):
        return max(task.weight.values) == 0
    weight = task.get("weight")  # of a config that nobody may have checked yet
    return CourseLimit().holds(weight) and max(Points.of(weight).values) == 0


def _by_language(text: ParallelText) -> dict[str, list[int]]:
    """By the name of a language the numbers of its translations, and by that of a translation its own."""
    found: dict[str, list[int]] = {}
    for number, translation in enumerate(text.texts):
        found.setdefault(text.languages[translation], []).append(number)
    return found | {translation: [number] for number, translation in enumerate(text.texts)}


def _class_of(task: Any) -> type[ExampleTask]:
    """The class of a task, or of the node of a config that names it."""
    return get_object(task["_target_"]) if isinstance(task, Mapping) else type(task)
