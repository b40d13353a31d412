"""CrossReference: which of two texts does the first one refer to?"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast, Count, OneOf, Positive
from frontpage.command.notices import notice
from frontpage.command.points import Course
from frontpage.data.parallel.examples import Examples
from frontpage.data.parallel.side import Side
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.pairs import chance_of_ranks, mean_with_error, ranks_in_pool, share_with_error
from frontpage.models.text_heads import Projector
from frontpage.recipe.tasks.task import ExampleTask, by_translation

CHANCE = 0.5  # accuracy of guesses at triples
RECALL = 10  # candidates among which a reference is looked for
FAR = 100  # units
FALLBACK = 5  # units: how far a near unit may be


class CrossReference(ExampleTask):
    """An anchor, a unit that it is linked with, and one that it is not; all in one translation.

    Links are drawn by their votes, in either direction. The third text is at least `distance` units away (null: FAR, or
    a quarter of the units of a side that has fewer) and not linked. With `fallback` a unit near the anchor, of its
    chapter (of its book where a unit is a chapter), stands for a link where the corpus has none: that is nearness, and
    a notice says so. The head is a Projector; the loss a hinge on cosines with `margin`, or, with `loss=infonce`, the
    cross-entropy of finding each anchor's own partner among all texts of the micro-batch that are not right as well, at
    `temperature`.
    """

    members = 3

    def __init__(
        self,
        *,
        weight: Course,
        loss_scale: Course = 1.0,
        distance: Count | None = None,
        fallback: bool = False,
        loss: Annotated[str, OneOf("hinge", "infonce")] = "infonce",
        margin: Annotated[float, AtLeast(0)] = 0.5,
        temperature: Positive = 0.1,
        centred: bool = True,
    ) -> None:
        super().__init__(weight=weight, loss_scale=loss_scale)
        self.centred = centred
        self.distance, self.fallback = distance, fallback
        self.kind, self.margin, self.temperature = loss, margin, temperature

    def check(self, side: Side, key: str) -> None:
        """A side needs links, and units far enough from them."""
        if not len(side.linked) and not self.fallback:
            allowed = "0, since the corpus has no links on one of its sides (tasks=without_links leaves the task out)"
            raise BadValue(f"{key}.weight", self.weight.values[-1], f"{allowed}, or {key}.fallback=true for near units")
        if not len(side.linked):
            notice(f"{key}.fallback=true: there are no links; a unit at most {FALLBACK} away stands for one")
        reach = int(side.units[-1] - side.units[0])
        anchors = self._anchors_of(side)[:1000].tolist()
        if not any(self._partners_exist(side, place, self._distance(side)) for place in anchors):
            if not any(self._partners_exist(side, place, 1) for place in anchors):
                allowed = "0: on one of its sides every unit is related with every anchor; or more units"
                raise BadValue(f"{key}.weight", self.weight.values[-1], allowed)
            allowed = f"no unit is that far from an anchor and not related with it; at most {reach // 2}"
            raise BadValue(f"{key}.distance", self._distance(side), allowed)

    def _distance(self, side: Side) -> int:
        return min(FAR, len(side) // 4) if self.distance is None else self.distance

    def _anchors_of(self, side: Side) -> np.ndarray:
        if len(side.linked):
            return side.linked
        return np.arange(len(side))

    def _partners_exist(self, side: Side, place: int, distance: int) -> bool:
        related = self._related(side, place)[0]
        away = np.abs(side.units - side.units[place]) >= distance
        away[[place, *related]] = False
        return bool(away.any()) and bool(len(related))

    def _related(self, side: Side, place: int) -> tuple[np.ndarray, np.ndarray]:
        """(places that count as linked with a place, their votes)."""
        if len(side.linked):
            return side.links_of(place)
        near = np.arange(max(place - FALLBACK, 0), min(place + FALLBACK + 1, len(side)))
        same = (side.books[near] == side.books[place]) & (near != place)
        if not side.whole_chapters:
            same &= side.chapters[near] == side.chapters[place]
        return near[same], np.ones(int(same.sum()))

    def draw(self, side: Side, count: int, draws: np.random.Generator) -> Examples:
        """`count` triples."""
        triples, translations = [], []
        anchors = self._anchors_of(side)
        for _ in range(1000 * count):
            if len(triples) == count:
                break
            anchor, translation = int(draws.choice(anchors)), int(draws.integers(len(side.translations)))
            related, votes = self._related(side, anchor)
            there = side.has[translation, related] & side.has[translation, anchor]
            if not there.any():
                continue
            related, votes = related[there], votes[there]
            positive = int(draws.choice(related, p=votes / votes.sum()))
            negative = self._negative(side, translation, (anchor, positive), draws)
            if negative is not None:
                triples.append((anchor, positive, negative))
                translations.append((translation,) * 3)
        if len(triples) < count:
            raise UserError("tasks.cross_reference: the translations hold hardly a link; 1,000 draws found none")
        return Examples(np.array(triples), np.array(translations), np.ones(count))

    def _negative(self, side: Side, translation: int, pair: tuple[int, int], draws: np.random.Generator) -> int | None:
        anchor, said = pair[0], {side.said[translation, place] for place in pair}
        right = {anchor, *self._related(side, anchor)[0].tolist()}
        for _ in range(self.TRIES):
            other = int(draws.integers(len(side)))
            away = abs(int(side.units[other] - side.units[anchor])) >= self._distance(side)
            if (
                away
                and side.has[translation, other]
                and other not in right
                and side.said[translation, other] not in said
            ):
                return other
        return None

    @property
    def compares(self) -> bool:
        """InfoNCE does."""
        return self.kind == "infonce"

    def right_as_well(self, examples: Examples, side: Side) -> np.ndarray | None:
        """(E, 2E) bool: which second and third texts of a batch an anchor may not be pushed away from, but for its own.

        What it is linked with, in whatever translation, and what says the same as the anchor or its partner.
        """
        if not self.compares:
            return None
        places, others = examples.places[:, :2], examples.places[:, 1:].T.ravel()
        said = self._said(examples, side)
        texts, candidates = said[:, :2], said[:, 1:].T.ravel()
        found = np.zeros((len(places), len(others)), dtype=bool)
        for row, (anchor, _) in enumerate(places):
            found[row] = np.isin(others, [anchor, *self._related(side, int(anchor))[0]])
            found[row] |= np.isin(candidates, texts[row])
            found[row, row] = False
        return found

    @staticmethod
    def _said(examples: Examples, side: Side) -> np.ndarray:
        """(E, 3): what the texts of examples say, as Side numbers it."""
        return side.said[examples.translations, examples.places]

    def head(self, width: int) -> nn.Module:
        """A Projector."""
        return Projector(width, centred=self.centred)

    def loss(self, head: nn.Module, vectors: Tensor, labels: Tensor, right_as_well: Tensor | None = None) -> Tensor:
        """The hinge, or InfoNCE over the micro-batch (van den Oord et al. 2018)."""
        anchor, positive, negative = F.normalize(head(vectors).float(), dim=-1).unbind(1)
        if self.kind == "hinge":
            return (self.margin + (anchor * negative).sum(-1) - (anchor * positive).sum(-1)).clamp(min=0).mean()
        with torch.autocast(anchor.device.type, enabled=False):  # cosines near 1 differ by less than bf16 tells apart
            near = anchor @ torch.cat([positive, negative]).mT / self.temperature
        if right_as_well is not None:
            near = near.masked_fill(right_as_well, -torch.inf)
        return F.cross_entropy(near, torch.arange(len(anchor), device=near.device))

    def judged(self, head: nn.Module, vectors: Tensor) -> Tensor:
        """Projected vectors (E, 3, C)."""
        return head(vectors)

    @classmethod
    def metrics(cls, name: str) -> list[Metric]:
        """Right triples, and ranks of the positives in a pool."""
        values = (("accuracy", "right triples"), ("mrr", None), (f"recall_at_{RECALL}", None))
        found = [Metric(f"val/{name}/{one}", HIGHER, f"val/{name}/{one}_se", unit) for one, unit in values]
        margin = Metric(f"val/{name}/margin", None, unit="difference of cosines")
        chance = Metric(f"val/{name}/chance", None)
        return [*found, margin, chance, *(Metric(f"val/{name}/{one}_se", None) for one, _ in values)]

    def measured(self, name: str, judged: Tensor, examples: Examples, side: Side) -> dict[str, float]:
        """Triples by the difference of their cosines; ranks among all second and third texts of the translation."""
        vectors = F.normalize(judged.double(), dim=-1)
        margins = (vectors[:, 0] * (vectors[:, 1] - vectors[:, 2])).sum(-1)
        right = margins > 0
        found = dict(zip((f"val/{name}/accuracy", f"val/{name}/accuracy_se"), share_with_error(right), strict=True))
        found[f"val/{name}/margin"] = float(margins.mean())
        found[f"val/{name}/chance"] = CHANCE
        pool = self._pool(examples, side)
        ranks = ranks_in_pool(vectors[:, 0], vectors.flatten(0, 1)[pool.rows], pool.targets, pool.allowed)
        reciprocal, error = mean_with_error(ranks.reciprocal())
        recall, recall_error = share_with_error(ranks.recall(RECALL))
        found |= {f"val/{name}/mrr": reciprocal, f"val/{name}/mrr_se": error}
        found |= {f"val/{name}/recall_at_{RECALL}": recall, f"val/{name}/recall_at_{RECALL}_se": recall_error}
        for translation, chosen in by_translation(examples, side.translations).items():
            share, error = share_with_error(right[torch.from_numpy(chosen)])
            found |= {f"val/{name}/accuracy/{translation}": share, f"val/{name}/accuracy_se/{translation}": error}
        return found

    def chances(self, name: str, examples: Examples, side: Side) -> dict[str, float]:
        """One of two, and those of ranks among each anchor's candidates."""
        reciprocal, recall = chance_of_ranks(self._pool(examples, side).allowed.sum(1), RECALL)
        return {
            f"val/{name}/accuracy": CHANCE,
            f"val/{name}/mrr": reciprocal,
            f"val/{name}/recall_at_{RECALL}": recall,
        }

    def _pool(self, examples: Examples, side: Side) -> "Pool":
        return Pool(examples, self._said(examples, side), lambda anchor: self._related(side, anchor)[0], len(side))


class Pool:
    """The candidates of triples: each second or third text once, of which an anchor may have those of its translation.

    `rows` (P,) index the texts of all triples, `targets` (E,) name each anchor's second text in the pool, `allowed`
    (E, P) are its candidates: no other text that is `related` with the anchor, and none that says what the anchor or
    its second text says (`said` (E, 3)).
    """

    def __init__(
        self, examples: Examples, said: np.ndarray, related: Callable[[int], np.ndarray], places_of_side: int
    ) -> None:
        keys = examples.translations * places_of_side + examples.places
        candidates = keys[:, 1:].ravel()
        rows = np.arange(len(keys) * 3).reshape(-1, 3)[:, 1:].ravel()
        names, first, targets = np.unique(candidates, return_index=True, return_inverse=True)
        self.rows, self.targets = torch.from_numpy(rows[first]), torch.from_numpy(targets.reshape(-1, 2)[:, 0])
        translations, places = np.divmod(names, places_of_side)
        texts = said[:, 1:].ravel()[first]
        allowed = examples.translations[:, :1] == translations
        for row, (anchor, positive) in enumerate(examples.places[:, :2]):
            allowed[row] &= ~np.isin(places, [anchor, *related(int(anchor))]) & ~np.isin(texts, said[row, :2])
            allowed[row] |= (places == positive) & (translations == examples.translations[row, 0])
        self.allowed = torch.from_numpy(allowed)
