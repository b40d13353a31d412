"""A path that is longer than a file system takes, wherever it was first looked at."""

import errno
import sys

SHOWN = 60  # characters of it in the message


def is_too_long(error: BaseException) -> bool:
    """Whether an error says that a path, or a name in it, is too long."""
    return isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG


def explain_long_name(error: OSError) -> str:
    """One line for it, with the word of the command line that gave the path."""
    path = str(error.filename)
    given = [(value, key) for key, value in _values(sys.argv[1:]) if value and value in path]
    value, key = max(given, key=lambda one: len(one[0]), default=(path, ""))
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    start = f"{key}={shown}" if key else shown
    return f"{start}: too long for a path ({len(value.encode())} bytes); most file systems take 255 bytes for each name"


def _values(words: list[str]) -> list[tuple[str, str]]:
    """(key or option, value) of each word; of one that stands alone the key is empty."""
    found = []
    for before, word in zip(["", *words], words, strict=False):
        key, equals, value = word.partition("=")
        option = before if before.startswith("--") and "=" not in before else ""
        found.append((key.lstrip("+"), value.strip("'\"")) if equals else (option, word))
    return found
