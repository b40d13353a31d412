"""How far a long piece of work is: a bar that a terminal draws again, and now and then a plain line elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from frontpage.command.terminal import can_redraw

SAID_EVERY = 10.0  # seconds between plain lines
Piece = TypeVar("Piece")


class ProgressLine:
    """The share of `total` that is done, of whatever unit, and the seconds left; work of an instant says nothing."""

    def __init__(self, what: str, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.done, self._clock, self._bar = what, total, 0.0, clock, None
        self._start = self._said = clock()
        if can_redraw():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            what = TextColumn("{task.description}", markup=False)
            columns = (what, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(), transient=True)
            self._task = self._bar.add_task(self.what, total=total)

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.done += amount
        now = self._clock()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
            if self.done < self.total:
                self._bar.start()
        elif now - self._said >= SAID_EVERY and self.done < self.total:
            self._said = now
            left = f", about {(now - self._start) * (self.total / self.done - 1):.0f} s left" if self.done else ""
            print(f"{self.what}: {self.done / self.total:.0%}{left}", flush=True)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()


def watched(pieces: Iterable[Piece], what: str, sizes: Iterable[float]) -> Iterator[Piece]:
    """The pieces of a work of `sizes`, in any unit, one after another, with a line that says how far it is."""
    sizes = list(sizes)
    line = ProgressLine(what, sum(sizes))
    try:
        for piece, size in zip(pieces, sizes, strict=True):
            yield piece
            line.advance(size)
    finally:
        line.close()
