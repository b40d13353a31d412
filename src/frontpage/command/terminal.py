"""What scripts write to a terminal and read from it: safe text, lines that are drawn again, colours where wanted."""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence

# What moves a cursor, ends a line or turns the order of letters: C0 and C1, marks and overrides of direction, line and
# paragraph separators, and halves of surrogate pairs.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with `\\x1b`, `\\n` or `\\u202e` for each character that a terminal would act upon."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """The JSON `text`, which means what it meant, with each such character as `\\u001b`; its own line ends are kept."""
    return UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


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
