"""What scripts write to a terminal and read from it: safe text, lines that are drawn again, colours where wanted."""

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence


def printable(text: str) -> str:
    """The text with U+FFFD for each character that would move the cursor or do nothing visible."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def can_redraw() -> bool:
    """Whether stdout is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def wants_colour() -> bool:
    """Whether stdout is such a terminal and the user has not set NO_COLOR (no-color.org)."""
    return can_redraw() and not os.environ.get("NO_COLOR")


def cut(text: str, columns: int) -> str:
    """The beginning of the text that fits into so many columns of a terminal; East Asian letters take two."""
    for place, letter in enumerate(text):
        wide = unicodedata.east_asian_width(letter) in "WF"
        columns -= 0 if unicodedata.combining(letter) else 1 + wide
        if columns < 0:
            return text[:place]
    return text


class Redrawn:
    """Lines at the bottom of a terminal that are drawn again and again in the same place."""

    def __init__(self) -> None:
        self._shown = 0
        self._columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80

    @staticmethod
    def most() -> int:
        """How many lines fit on the terminal."""
        return max(os.get_terminal_size(sys.stdout.fileno()).lines - 1, 1)

    def show(self, lines: Sequence[str]) -> None:
        """Draw the lines, each cut to the terminal's width, in place of those before."""
        shown = "".join(f"{cut(line, self._columns - 1)}\033[K\n" for line in lines)
        sys.stdout.write(self._up() + shown)
        sys.stdout.flush()
        self._shown = len(lines)

    def clear(self) -> None:
        """Take them away; what is printed next stands in their place."""
        sys.stdout.write(self._up() + "\033[J")
        sys.stdout.flush()
        self._shown = 0

    def _up(self) -> str:
        return f"\033[{self._shown}A\r" if self._shown else ""


def typed_lines(ask: str = "") -> Iterator[str]:
    """Lines from stdin without their ends until it ends, after `ask` each; bytes that are no UTF-8 are kept as such."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    while True:
        try:
            line = input(ask)
        except EOFError:
            return
        if ask and not sys.stdin.isatty():
            print(printable(line))  # as a terminal does, so that what comes of a pipe can be read
        yield line
