"""PartTimes: how many seconds each part of a script took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PartTimes:
    """`with times.part("scoring"):` adds what lies inside to that part; `clock()` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure one part, which may come again."""
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start

    def __str__(self) -> str:
        return "seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
