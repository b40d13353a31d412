"""What is said when a disk is full, or when what a run must keep does not lie on it: status 1, and no traceback."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


class NotSaved(Exception):
    """A run came to its end, and its last checkpoint does not lie on the disk."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, has no room."""
    return isinstance(error, OSError) and error.errno in FULL


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name `path` in an OSError from within: the system says which file it was only where one was opened."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error


def explain_full_disk(error: BaseException | None) -> str | None:
    """One or two lines for a full disk, found anywhere among the causes of an error; None for any other error."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, NotSaved):
            return str(error)
        if is_full(error):
            where = f" {error.filename}" if error.filename else ""
            return f"the disk is full:{where} was not written ({error.strerror}); what was there before stays"
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
