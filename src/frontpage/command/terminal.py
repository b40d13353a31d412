"""What scripts write to a terminal and read from it: safe text, lines that are drawn again, colours where wanted."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

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


@contextlib.contextmanager
def redrawn() -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that draws lines at the bottom of a terminal, each cut to its width, in place of those before.

    They are taken away at the end.
    """
    from rich.console import Console  # not before it is used: most programs draw nothing
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        yield lambda lines: live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)


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
