"""The one exception for mistakes that a user can mend: it ends the program with status 2 and one or two lines."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from frontpage.command.masking import HIDDEN, is_secret
from frontpage.command.terminal import printable

NO_URL = "a URL; a path on this machine is needed"


class UserError(Exception):
    """A mistake in what the user gave; the message names the key, the value and what is allowed."""


class Infeasible(UserError):
    """What was asked for cannot be run here: it needs more memory than there is, or breaks a constraint of a search.

    A search goes on without it, and does not count it as a failure.
    """

    estimated_memory_bytes: int | None = None


@dataclass(eq=False, repr=False)
class BadValue(UserError):
    """A UserError in the house's form: `key=value: what is allowed`, the value as the command line spells it.

    That is one line, whatever another library's message in `allowed` holds; `advice` is the next one.
    """

    key: str
    value: object
    allowed: str
    advice: str = ""

    def __str__(self) -> str:
        shown = HIDDEN if is_secret(self.key, self.value) else self.value
        spelled = json.dumps(shown) if shown is None or isinstance(shown, bool) else shown
        lines = f"{self.key}={printable(str(spelled))}: {_one_line(self.allowed)}", _one_line(self.advice)
        return "\n".join(line for line in lines if line)


def nearest(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """` (did you mean 'x'?)` for the choice most like `word`, `prefix` before it, or nothing where none is near."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{prefix}{found[0]}'?)" if found else ""


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def local_path(text: str | Path, key: str) -> Path:
    """The path that a text names; a UserError for a URL, of which a Path would lose a slash and any error its name."""
    if "://" in str(text):
        raise BadValue(key, text, NO_URL)
    return Path(text)


def is_text(text: str) -> bool:
    """Whether a text can be written to a file: a name or path from the system may hold bytes that are no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
