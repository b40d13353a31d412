"""Paraphrase: do two texts say the same, in two translations?"""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.command.errors import BadValue
from frontpage.command.limits import Between, Positive
from frontpage.command.points import Course
from frontpage.data.parallel.examples import Examples
from frontpage.data.parallel.side import Side
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.pairs import chance_of_ranks, ranks_in_pool, share_with_error
from frontpage.models.text_heads import ScaledProjector
from frontpage.recipe.tasks.coherence import judgement_chances, judgement_metrics, judgements
from frontpage.recipe.tasks.task import ExampleTask, halves

NEAR = 10  # units of the same book, for a hard negative


class Paraphrase(ExampleTask):
    """A unit in two translations, against two different units, which never say the same.

    Of the negatives a share of `hard` lies within NEAR units of the same book. The head is a ScaledProjector; the loss
    is binary cross-entropy on `scale` times the cosine, and an offset; both are `learned` or stay as they begin.
    """

    def __init__(
        self,
        *,
        weight: Course,
        loss_scale: Course = 1.0,
        hard: Annotated[float, Between(0, 1)] = 0.5,
        scale: Positive = 5.0,
        learned: bool = True,
        centred: bool = True,
    ) -> None:
        super().__init__(weight=weight, loss_scale=loss_scale)
        self.centred = centred
        self.hard, self.scale, self.learned = hard, scale, learned

    def check(self, side: Side, key: str) -> None:
        """A side needs units in two translations, and others that say something else."""
        number = self.weight.values[-1]
        if len(side.translations) < 2:
            raise BadValue(f"{key}.weight", number, f"0: it needs two translations, not {side.translations[0]} alone")
        if not (side.has.sum(0) > 1).any():
            raise BadValue(f"{key}.weight", number, "0: no unit is there in two translations")
        alike = self._all_alike(side)
        if alike is not None:
            allowed = f"0, or data.translations without {alike}: it has a unit from which no other one there differs"
            raise BadValue(f"{key}.weight", number, allowed)

    def draw(self, side: Side, count: int, draws: np.random.Generator) -> Examples:
        """`count` pairs, half of them of one unit."""
        labels = halves(count, draws)
        several = np.flatnonzero(side.has.sum(0) > 1)
        pairs, translations = [], []
        for label in labels:
            first = int(draws.choice(several))
            one, two = (int(each) for each in draws.choice(np.flatnonzero(side.has[:, first]), 2, replace=False))
            second = first if label else self._negative(side, first, (one, two), draws)
            pairs.append((first, second))
            translations.append((one, two))
        return Examples(np.array(pairs), np.array(translations), labels)

    def _negative(self, side: Side, first: int, translations: tuple[int, int], draws: np.random.Generator) -> int:
        one, two = translations
        said = {side.plain[one][first], side.plain[two][first]}
        start, end = side.book_bounds[int(side.books[first])]
        hard = draws.random() < self.hard
        for turn in range(2 * self.TRIES):
            near = hard and turn < self.TRIES  # else a book that is too short has none
            low, high = (max(first - NEAR, start), min(first + NEAR + 1, end)) if near else (0, len(side))
            other = int(draws.integers(low, high))
            differs = side.has[two, other] and side.plain[two][other] not in said
            if differs and not self._say_the_same(side, first, other):
                return other
        left = [place for place in self._there(side, two) if side.plain[two][place] not in said]
        return int(draws.choice([place for place in left if not self._say_the_same(side, first, place)] or left))

    @staticmethod
    def _say_the_same(side: Side, one: int, other: int) -> bool:
        """Whether a translation has one text for two places: what another one has for them says the same, too."""
        both = np.flatnonzero(side.has[:, one] & side.has[:, other])
        return any(side.plain[each][one] == side.plain[each][other] for each in both)

    def _all_alike(self, side: Side) -> str | None:
        """A translation in which some unit has no negative, by name; None where each has one in all."""
        for number, name in enumerate(side.translations):
            kinds = {side.plain[number][place] for place in self._there(side, number)}
            for place in self._there(side, number) if len(kinds) < 3 else ():  # two texts rule out two kinds
                for other in np.flatnonzero(side.has[:, place]):
                    if other != number and kinds <= {side.plain[number][place], side.plain[other][place]}:
                        return name
        return None

    @staticmethod
    def _there(side: Side, translation: int) -> np.ndarray:
        return np.flatnonzero(side.has[translation])

    def head(self, width: int) -> nn.Module:
        """A ScaledProjector."""
        return ScaledProjector(width, scale=self.scale, learned=self.learned, centred=self.centred)

    def loss(self, head: nn.Module, vectors: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy."""
        return F.binary_cross_entropy_with_logits(self._logits(head, head(vectors)), labels)

    def judged(self, head: nn.Module, vectors: Tensor) -> Tensor:
        """(E, 2C + 1): both projected vectors, and the logit."""
        projected = head(vectors)
        return torch.cat([projected.flatten(1).float(), self._logits(head, projected)[:, None]], dim=1)

    @staticmethod
    def _logits(head: nn.Module, projected: Tensor) -> Tensor:
        one, two = F.normalize(projected.float(), dim=-1).unbind(1)
        return head.scale * (one * two).sum(-1) + head.offset

    @classmethod
    def metrics(cls, name: str) -> list[Metric]:
        """Accuracy, AUROC, and the share of units that are the nearest of their translation to what is asked for."""
        recall = Metric(f"val/{name}/recall_at_1", HIGHER, f"val/{name}/recall_at_1_se")
        return [*judgement_metrics(name), recall, Metric(f"val/{name}/recall_at_1_se", None)]

    def measured(self, name: str, judged: Tensor, examples: Examples, side: Side) -> dict[str, float]:
        """Of the sign and the order of the logits, and of the nearest among the second texts of a translation."""
        vectors, logits = judged[:, :-1].unflatten(1, (2, -1)), judged[:, -1]
        found = judgements(name, logits, examples, side)
        positive, allowed = self._pool(examples, side)
        if positive.any():
            chosen = vectors[torch.from_numpy(positive)]
            ranks = ranks_in_pool(chosen[:, 0], chosen[:, 1], torch.arange(len(chosen)), allowed)
            share, error = share_with_error(ranks.recall(1))
            found |= {f"val/{name}/recall_at_1": share, f"val/{name}/recall_at_1_se": error}
        return found

    def chances(self, name: str, examples: Examples, side: Side) -> dict[str, float]:
        """The commoner label, and one of all candidates."""
        allowed = self._pool(examples, side)[1]
        recall = chance_of_ranks(allowed.sum(1), 1)[1] if len(allowed) else 0.0
        return judgement_chances(name, examples) | {f"val/{name}/recall_at_1": recall}

    @staticmethod
    def _pool(examples: Examples, side: Side) -> tuple[np.ndarray, Tensor]:
        """(which examples are positive (E,), their candidates (P, P) bool).

        Those are the second texts in the translation that is asked for, none of them the query's unit once more, nor
        one that says the same: else a text of the query's own language would be the nearest.
        """
        positive = examples.labels > 0
        units, asked = examples.places[positive, 0], examples.translations[positive, 1]
        allowed = (units[:, None] != units[None, :]) & (asked[:, None] == asked[None, :])
        for of in side.said[:, units]:  # in whichever translation
            allowed &= (of[:, None] != of[None, :]) | (of < 0)[None, :]
        np.fill_diagonal(allowed, True)
        return positive, torch.from_numpy(allowed)
