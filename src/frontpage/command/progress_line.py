"""How far a long piece of work is: one line that a terminal draws again, and now and then a plain line elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from frontpage.command.terminal import Redrawn, can_redraw

DRAWN_EVERY, SAID_EVERY = 0.2, 10.0  # seconds between lines: on a terminal, and elsewhere
Piece = TypeVar("Piece")


class ProgressLine:
    """The share of `total` that is done, of whatever unit, and the seconds left; work of an instant says nothing."""

    def __init__(self, what: str, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.done = what, total, 0.0
        self._clock, self._drawn = clock, Redrawn() if can_redraw() else None
        self._start = self._said = clock()

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.done += amount
        now = self._clock()
        if now - self._said < (SAID_EVERY if self._drawn is None else DRAWN_EVERY) or self.done >= self.total:
            return
        self._said = now
        left = (now - self._start) * (self.total - self.done) / self.done if self.done else None
        line = f"{self.what}: {self.done / self.total:.0%}" + ("" if left is None else f", about {left:.0f} s left")
        if self._drawn is None:
            print(line, flush=True)
        else:
            self._drawn.show([line])

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._drawn is not None:
            self._drawn.clear()


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
