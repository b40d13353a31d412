"""Points: a number that may change over the updates of a run, written as it is in a config."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from frontpage.command.limits import Limit


class CourseLimit(Limit):
    """A number of at least 0, or `[[update, number], ...]` with rising updates from 0 on."""

    words = "at least 0; a list is a course [[update, number], ...] from update 0 on, such as [[0,0],[500,1]]"

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the two."""
        if isinstance(value, int | float):
            return 0 <= value < float("inf")
        if not isinstance(value, Sequence) or not value:
            return False
        pairs = all(isinstance(one, Sequence) and len(one) == 2 and not isinstance(one, str) for one in value)
        if not pairs or not all(isinstance(part, int | float) for one in value for part in one):
            return False
        updates = [update for update, _ in value]
        rising = updates[0] == 0 and all(before < after for before, after in zip(updates, updates[1:], strict=False))
        return rising and all(0 <= number < float("inf") for _, number in value)


Course = Annotated[float | list, CourseLimit()]  # as a parameter's annotation


@dataclass(frozen=True)
class Points:
    """A course over updates: linear between its points, constant after the last.

    Where whoever asks knows how many updates the run has, places that all lie within 0 and 1 are shares of it.

    >>> Points.of([[0, 0.0], [100, 1.0]]).at(25), Points.of(0.7).at(1_000)
    (0.25, 0.7)
    >>> Points.of([[0, 0.0], [0.5, 1.0]]).at(100, total=400), Points.of([[0, 0.0], [200, 1.0]]).at(100, total=400)
    (0.5, 0.5)
    """

    updates: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, course: float | Sequence[Sequence[float]], key: str = "") -> "Points":
        """From what a config says; ValueError `key=...` for what CourseLimit does not let through."""
        if not CourseLimit().holds(course):
            raise ValueError(f"{key}={course}: {CourseLimit.words}")
        pairs = [(0.0, course)] if isinstance(course, int | float) else course
        return cls(tuple(float(one) for one, _ in pairs), tuple(float(one) for _, one in pairs))

    @classmethod
    def of_updates(cls, course: float | Sequence[Sequence[float]], key: str = "") -> "Points":
        """The same of a course whose places can be updates only; ValueError for one that reads as shares of a run."""
        found = cls.of(course, key)
        if found.in_shares or any(update != int(update) for update in found.updates):
            raise ValueError(f"{key}={course}: a course over whole updates, beyond update 1; no shares of the run here")
        return found

    @property
    def in_shares(self) -> bool:
        """Whether its places can be shares of a run: several, none beyond 1."""
        return len(self.updates) > 1 and self.updates[-1] <= 1

    def at(self, update: float, total: int | None = None) -> float:
        """The number at an update, of a run of `total` updates where that is known."""
        if total is not None and self.in_shares:
            update = update / max(total, 1)
        place = bisect_right(self.updates, update) - 1
        if place == len(self.updates) - 1:
            return self.values[-1]
        start, end = self.updates[place : place + 2]
        low, high = self.values[place : place + 2]
        return low + (high - low) * (update - start) / (end - start)
