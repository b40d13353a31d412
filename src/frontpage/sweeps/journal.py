"""A journal of whole records: what a full disk or a killed writer cut short is removed before the next is written."""

import contextlib
import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from frontpage.command.notices import notice

RECORD = b'{"op_code":'  # how each line of a journal begins


class Journal(JournalFileBackend):
    """Optuna's file of a study, which lies at `path` already; any number of processes may share it.

    Optuna writes behind a record that was cut short, which makes all of the file unreadable. `patience`: the seconds
    after which the lock of a writer that was killed is broken; a record takes milliseconds. Raises OSError.
    """

    def __init__(self, path: Path, patience: int) -> None:
        self.path, self.lock = path, JournalFileSymlinkLock(str(path), grace_period=patience)
        super().__init__(str(path), self.lock)
        with self._opened() as file:
            torn = _whole(file) < file.seek(0, os.SEEK_END)
        if torn:
            self.append_logs([])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records behind the last whole one; all of them, or none where that fails."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode("utf-8")
        with self._held(), self._opened() as file:
            end = _whole(file)
            if end < file.seek(0, os.SEEK_END):
                file.truncate(end)
                notice(f"{self.path}: its last record was cut short and has been removed; the study goes on without it")
            try:
                while text:
                    text = text[file.write(text) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _opened(self) -> FileIO:
        """The file for reading and appending, without a buffer; never made anew, should it have gone."""
        return open(self.path, "a+b", buffering=0, opener=lambda path, flags: os.open(path, flags & ~os.O_CREAT))

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self.lock.acquire()
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError):  # another process has taken it for that of a dead one
                self.lock.release()


def is_journal(path: Path) -> bool:
    """Whether a file begins as a journal does, be it cut short or empty."""
    with path.open("rb") as file:
        start = file.read(len(RECORD))
    return start == RECORD[: len(start)]


def _whole(file: FileIO) -> int:
    """The bytes up to and with the last newline."""
    size = file.seek(0, os.SEEK_END)
    if size == 0 or os.pread(file.fileno(), 1, size - 1) == b"\n":
        return size
    file.seek(0)
    return file.readall().rfind(b"\n") + 1
