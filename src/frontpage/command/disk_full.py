"""What is said when a disk is full, or when what a run must keep does not lie on it: status 1, and no traceback."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
SHORT = r"\d+ requested and \d+ written"  # how NumPy says it


ADVICE = "make room, then ckpt_path=last goes on from the run's newest checkpoint; a search goes on by its command"


class NotSaved(Exception):
    """A run came to its end, and its last checkpoint does not lie on the disk."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, has no room."""
    short = isinstance(error, OSError) and error.errno is None and re.fullmatch(SHORT, str(error))
    return bool(short) or (isinstance(error, OSError) and error.errno in FULL)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name `path` in an OSError from within: the system says which file it was only where one was opened."""
    try:
        yield
    except OSError as error:
        number = errno.ENOSPC if is_full(error) and error.errno is None else error.errno
        if number is None:
            raise
        raise OSError(number, error.strerror or os.strerror(number), str(path)) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A file to write to that takes the place of `path` once it is whole; an error leaves `path` as it was."""
    partial = Path(f"{path}.partial")
    try:
        with writing(path):
            yield partial
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def explain_full_disk(error: BaseException | None) -> str | None:
    """One or two lines for a full disk, found anywhere among the causes of an error; None for any other error."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, NotSaved):
            return str(error)
        if is_full(error):
            why = error.strerror or os.strerror(errno.ENOSPC)
            return f"the disk is full: {error.filename or 'a file'} was not written ({why})\nnothing is lost: {ADVICE}"
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
