"""Ctrl-C, SIGTERM and a terminal that is closed: how they reach a program, whatever it is doing."""

import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from frontpage.command.first_moment import take_over

Result = TypeVar("Result")
_deaf: list[threading.Thread] = []
_interrupted = False


def raise_when_interrupted() -> None:
    """From now on a signal raises KeyboardInterrupt."""
    global _interrupted
    _interrupted = False
    take_over(_raise)


def was_interrupted() -> bool:
    """Whether a signal has raised since."""
    return _interrupted


def heard(function: Callable[..., Result], *arguments: Any) -> Result:
    """What `function` returns; Ctrl-C is heard at once although its native code looks at no signal.

    It runs in a thread of its own. After an interrupt that thread is left alone, and ends with the process.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function(*arguments))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    _deaf.append(thread)
    thread.start()
    thread.join()
    _deaf.remove(thread)
    if errors:
        raise errors[0]
    return results[0]


def leave(status: int) -> None:
    """End the program; at once where a thread is left that no longer may wake up in Python."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.is_alive() for thread in _deaf):
        os._exit(status)
    sys.exit(status)


def _raise(number: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt
