"""TimeLeft: when a run will be done, from the pace of this session."""

import time
from collections.abc import Callable


class TimeLeft:
    """Told of every finished optimizer update, validation and checkpoint; `clock()` gives seconds.

    The pace is the mean over the updates of this session without the first, which compiles and warms up, and without
    those with a validation in between; what was spent on checkpoints is none of it. What the updates with a validation
    took longer is its cost, with the titles that go with it. It is counted for each validation still to come, and so
    is what an update that is saved spends on its checkpoints.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last: float | None = None  # when the newest update was done
        self._updates, self._training = 0, 0.0
        self._validations, self._validating = 0, 0.0
        self._saves, self._saving = 0, 0.0
        self._validated, self._saved = 0, 0.0  # validations, and seconds of saving, since the newest update

    def validated(self) -> None:
        """A validation has ended since the newest update."""
        self._validated += 1

    def saved(self, seconds: float) -> None:
        """A checkpoint was written since the newest update, in so many seconds."""
        if not self._saved:
            self._saves += 1
        self._saved += seconds
        self._saving += seconds

    def update_done(self) -> None:
        """An update is done."""
        now = self._clock()
        took = 0.0 if self._last is None else now - self._last - self._saved
        if self._last is not None and self._validated:
            self._validations += self._validated
            self._validating += took
        elif self._last is not None:
            self._updates += 1
            self._training += took
        self._last, self._validated, self._saved = now, 0, 0.0

    def seconds(self, updates: int, validations: int, saves: int = 0) -> float | None:
        """Seconds that so many further updates, validations and saved updates take; None while no pace is known."""
        if not self._updates:
            return None
        pace = self._training / self._updates
        validating = self._validating / self._validations - pace if self._validations else 0.0
        saving = self._saving / self._saves if self._saves else 0.0
        return updates * pace + validations * max(validating, 0.0) + saves * saving
