"""stdout and stderr that never end a program: any text can be shown, and a reader that has gone away is not missed."""

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)  # of a pipe's reader, and of a terminal that was closed
_lost: list[OSError] = []
_gone: set[int] = set()  # descriptors whose reader has left


class _Lasting(io.FileIO):
    """A file descriptor; once it cannot be written, what follows is dropped, here and in the process's other code."""

    def write(self, data: bytes) -> int | None:
        """Write, or drop."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in GONE:
                _gone.add(self.fileno())
            else:
                _lost.append(error)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def make_lasting() -> None:
    """Let the process's own stdout and stderr drop what nobody can read, and escape what their encoding lacks.

    A stream that somebody has put in their place (a notebook, a test) stays as it is.
    """
    for number in range(3):  # a closed one would give its number to the next file that is opened
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stdout is sys.__stdout__:
        sys.stdout = sys.__stdout__ = _lasting(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = sys.__stderr__ = _lasting(2, sys.stderr)


def reader_gone() -> bool:
    """Whether nobody reads stdout any more, as behind `| head`: a program that only prints may end."""
    return 1 in _gone


def what_was_lost() -> str | None:
    """Why output was dropped that somebody may miss, e.g. on a full disk; None where all was written or unwanted."""
    return os.strerror(_lost[0].errno) if _lost else None


def _lasting(number: int, before: TextIO | None) -> TextIO:
    """A text stream over a descriptor, buffered as the one before; None: it was closed when Python started."""
    raw = _Lasting(number, "w", closefd=False)
    unbuffered = before is not None and before.write_through
    stream = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=before is not None and before.line_buffering,
        write_through=unbuffered,
    )
    stream.mode = "w"
    return stream
