"""Coherence: does the second text follow the first?"""

from typing import Annotated

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.command.errors import BadValue
from frontpage.command.limits import AtLeast, Between, OneOf, ShareBelow1
from frontpage.command.notices import notice
from frontpage.command.points import Course
from frontpage.data.parallel.examples import Examples
from frontpage.data.parallel.side import Side
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.pairs import auroc_with_error, share_with_error
from frontpage.models.text_heads import PairClassifier
from frontpage.recipe.tasks.task import ExampleTask, by_translation, halves

USUAL = 0.5  # share of hard negatives
APART = 3  # units between the texts of a negative of the same book, at least


class Coherence(ExampleTask):
    """Consecutive units of a chapter, in one translation, against pairs that are not.

    Of the negatives a share of `hard` lies in one book, at least APART units apart or as a consecutive pair in reverse;
    the others are of two books. Never is a negative adjacent in order. The head is a PairClassifier of `features`
    `both` or `full`, the loss binary cross-entropy.
    """

    def __init__(
        self,
        *,
        weight: Course,
        loss_scale: Course = 1.0,
        hard: Annotated[float, Between(0, 1)] = USUAL,
        features: Annotated[str, OneOf("both", "full")] = "full",
        hidden: Annotated[int, AtLeast(2)] = 1024,
        dropout: ShareBelow1 = 0.0,
        centred: bool = False,
    ) -> None:
        super().__init__(weight=weight, loss_scale=loss_scale)
        self.centred = centred
        self.hard, self.features, self.hidden, self.dropout = hard, features, hidden, dropout

    def check(self, side: Side, key: str) -> None:
        """A side needs consecutive units; a notice says where it has one book alone."""
        if not side.neighbours.any():
            raise BadValue(f"{key}.weight", self.weight.values[-1], "0: no chapter has two consecutive units")
        if self.hard < 1 and len(side.book_bounds) < 2:
            notice(f"{key}.hard={self.hard}: one side has a single book, of which all of its negatives are then")

    def draw(self, side: Side, count: int, draws: np.random.Generator) -> Examples:
        """`count` pairs, half of them consecutive."""
        labels = halves(count, draws)
        found = side.neighbours.nonzero()
        pairs, translations = [], []
        for label, at in zip(labels, draws.integers(len(found[0]), size=count), strict=True):
            translation, first = int(found[0][at]), int(found[1][at])
            second = first + 1
            if not label:
                hard = draws.random() < self.hard or len(side.book_bounds) < 2
                first, second = self._negative(side, translation, first, hard, draws)
            pairs.append((first, second))
            translations.append((translation, translation))
        return Examples(np.array(pairs), np.array(translations), labels)

    def _negative(
        self, side: Side, translation: int, first: int, hard: bool, draws: np.random.Generator
    ) -> tuple[int, int]:
        start, end = side.book_bounds[int(side.books[first])]
        if hard and draws.random() < 0.5:
            return first + 1, first
        low, high = (start, end) if hard else (0, len(side))
        for _ in range(self.TRIES):
            other = int(draws.integers(low, high))
            apart = abs(int(side.units[other] - side.units[first])) >= APART if hard else not start <= other < end
            if apart and side.has[translation, other]:
                return first, other
        return first + 1, first  # a book too short for a distant pair: the reverse is always there

    def head(self, width: int) -> nn.Module:
        """A PairClassifier."""
        return PairClassifier(
            width, features=self.features, hidden=self.hidden, dropout=self.dropout, centred=self.centred
        )

    def loss(self, head: nn.Module, vectors: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy."""
        return F.binary_cross_entropy_with_logits(head(vectors).float(), labels)

    def best_possible(self, known: float | None) -> float | None:
        """A bound that is known is of the usual share of hard negatives."""
        return known if self.hard == USUAL else None

    def judged(self, head: nn.Module, vectors: Tensor) -> Tensor:
        """Logits (E,)."""
        return head(vectors)

    @classmethod
    def metrics(cls, name: str) -> list[Metric]:
        """Accuracy and AUROC."""
        return judgement_metrics(name)

    def measured(self, name: str, judged: Tensor, examples: Examples, side: Side) -> dict[str, float]:
        """Of the sign of the logits, and of their order."""
        return judgements(name, judged, examples, side)

    def chances(self, name: str, examples: Examples, side: Side) -> dict[str, float]:
        """What is best without reading: the commoner label."""
        return judgement_chances(name, examples)


def judgement_metrics(name: str) -> list[Metric]:
    """Of a task that gives a logit for each pair."""
    return [
        Metric(f"val/{name}/accuracy", HIGHER, error=f"val/{name}/accuracy_se", unit="right pairs"),
        Metric(f"val/{name}/auroc", HIGHER, error=f"val/{name}/auroc_se"),
        Metric(f"val/{name}/accuracy_se", None),
        Metric(f"val/{name}/auroc_se", None),
        Metric(f"val/{name}/chance", None),
    ]


def judgements(name: str, logits: Tensor, examples: Examples, side: Side) -> dict[str, float]:
    """Accuracy and AUROC with errors, what guessing would score, and the accuracy of each translation's pairs."""
    labels = logits.new_tensor(examples.labels).bool()
    right = (logits > 0) == labels
    found = dict(zip((f"val/{name}/accuracy", f"val/{name}/accuracy_se"), share_with_error(right), strict=True))
    area, error = auroc_with_error(logits, labels)
    found |= {f"val/{name}/auroc": area, f"val/{name}/auroc_se": error}
    found[f"val/{name}/chance"] = judgement_chances(name, examples)[f"val/{name}/accuracy"]
    for translation, chosen in by_translation(examples, side.translations).items():
        share, error = share_with_error(right[chosen])
        found |= {f"val/{name}/accuracy/{translation}": share, f"val/{name}/accuracy_se/{translation}": error}
    return found


def judgement_chances(name: str, examples: Examples) -> dict[str, float]:
    """The share of the commoner label, and half of the area."""
    positive = float(examples.labels.mean())
    return {f"val/{name}/accuracy": max(positive, 1 - positive), f"val/{name}/auroc": 0.5}
