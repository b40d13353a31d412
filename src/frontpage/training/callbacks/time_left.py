"""TimeLeft: when a run will be done, from the pace of this session."""

import time
from collections.abc import Callable


class TimeLeft:
    """Told of every finished optimizer update; `clock()` gives seconds.

    The pace is the mean over the updates of this session without the first, which compiles and warms up, and without
    those with a validation in between. What these took longer is the cost of a validation, with the checkpoint and the
    titles that go with it; it is counted for each validation still to come.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last: float | None = None  # when the newest update was done
        self._updates, self._training = 0, 0.0
        self._validations, self._validating = 0, 0.0
        self._in_between = 0

    def validated(self) -> None:
        """A validation has ended since the newest update."""
        self._in_between += 1

    def update_done(self) -> None:
        """An update is done."""
        now = self._clock()
        if self._last is not None and self._in_between:
            self._validations += self._in_between
            self._validating += now - self._last
        elif self._last is not None:
            self._updates += 1
            self._training += now - self._last
        self._last, self._in_between = now, 0

    def seconds(self, updates: int, validations: int) -> float | None:
        """Seconds that so many further updates and validations will take; None while the pace is unknown."""
        if not self._updates:
            return None
        pace = self._training / self._updates
        cost = self._validating / self._validations - pace if self._validations else 0.0
        return updates * pace + validations * max(cost, 0.0)
