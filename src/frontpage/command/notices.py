"""What a run did that its user did not ask for in so many words: said on the console, kept for the run's record."""

import logging

from frontpage.command.masking import hide
from frontpage.command.process_family import is_helper
from frontpage.command.terminal import printable

log = logging.getLogger(__name__)
_said: list[str] = []


def notice(message: str) -> None:
    """Say `message` once on the console and remember it for `run.json`."""
    message = printable(hide(message))
    if message not in _said:
        _said.append(message)
        if not is_helper():  # it would say it again
            log.warning("notice: %s", message)


def notices() -> list[str]:
    """All notices since the last `forget_notices`, in order."""
    return list(_said)


def forget_notices() -> None:
    """Start a new run in this process with an empty list."""
    _said.clear()
