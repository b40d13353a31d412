"""Task: what a task brings - how often and how strongly it is trained, its examples, its head, loss and metrics."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from frontpage.command.points import Course, Points
from frontpage.data.parallel.examples import Examples
from frontpage.data.parallel.side import Side
from frontpage.evaluation.declared import Metric


class Task:
    """How often a task is trained (`weight`, against the others' weights), and by what its loss is multiplied.

    Both are numbers, or courses over updates, `[[update, number], ...]`. Raises ValueError.
    """

    members = 1  # texts of an example

    def __init__(self, *, weight: Course, loss_scale: Course = 1.0) -> None:
        self.weight, self.loss_scale = Points.of_updates(weight, "weight"), Points.of_updates(loss_scale, "loss_scale")


class ExampleTask(Task):
    """A task on texts that are compared; a subclass draws them and judges them."""

    members = 2
    TRIES = 200  # random draws of a partner, before all are looked through

    @abstractmethod
    def check(self, side: Side, key: str) -> None:
        """Raise a UserError, by the key of the task's node, where a side has no example of the task."""

    @abstractmethod
    def draw(self, side: Side, count: int, draws: np.random.Generator) -> Examples:
        """`count` examples, half of them positive where there are labels."""

    @abstractmethod
    def head(self, width: int) -> nn.Module:
        """The head, which reads vectors of texts (..., width)."""

    @property
    def compares(self) -> bool:
        """Whether the loss compares the examples of a batch, so that it depends on how many there are."""
        return False

    def right_as_well(self, examples: Examples, side: Side) -> np.ndarray | None:
        """What a loss that compares the examples of a batch with one another must not call wrong; None where it does
        not."""
        return None

    @abstractmethod
    def loss(self, head: nn.Module, vectors: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of examples, from `vectors` (E, members, C) and `labels` (E,).

        One whose `right_as_well` gives something is handed that as well.
        """

    def best_possible(self, known: float | None) -> float | None:
        """The accuracy that none can beat on a corpus that has told a bound; None where it is not of this task."""
        return known

    @abstractmethod
    def judged(self, head: nn.Module, vectors: Tensor) -> Tensor:
        """What metrics are computed of, an example a row: (E, ...) from vectors (E, members, C)."""

    @classmethod
    @abstractmethod
    def metrics(cls, name: str) -> list[Metric]:
        """What a validation measures of the task, the most telling first."""

    @abstractmethod
    def measured(self, name: str, judged: Tensor, examples: Examples, side: Side) -> dict[str, float]:
        """The metrics of examples and what was judged of them, on the CPU."""

    @abstractmethod
    def chances(self, name: str, examples: Examples, side: Side) -> dict[str, float]:
        """What guessing would score, for each metric of which that is known."""


def by_translation(examples: Examples, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Which examples (E,) bool have a text in each translation that any of them has."""
    found = {name: (examples.translations == number).any(1) for number, name in enumerate(names)}
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def halves(count: int, draws: np.random.Generator) -> np.ndarray:
    """Labels (count,) of which half are 1, in random order; an odd one is drawn."""
    labels = np.repeat([1.0, 0.0], [(count + int(draws.integers(2))) // 2, count])[:count]
    return draws.permutation(labels)
