"""Which sweeping processes are alive, and whose turn it is to change the study."""

import contextlib
import fcntl
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontpage.command.errors import BadValue, UserError

LOCK = "study.lock"
BEATS = 10  # signs of life within the time after which a worker is dead


class Workers:
    """A folder beside the study with a file for each worker, which it keeps locked while it lives.

    The kernel drops the lock however a process ends, so who can take it knows that the owner is dead: no clock and no
    process id is trusted. On another machine, whose locks may not be seen from here, a worker also counts as alive
    until its file has been left untouched for `heartbeat` seconds, by the clock of the file system. (`lockf`, since a
    `flock` would be inherited by forked data loaders.)
    """

    def __init__(self, folder: Path, heartbeat: float) -> None:
        self._new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadValue("hydra.sweeper.storage", folder.parent, f"cannot be written ({error.strerror})") from error
        self.folder, self.heartbeat = folder, heartbeat
        self.name = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._stopped = threading.Event()

    def __enter__(self) -> "Workers":
        self._file = self._path(self.name).open("w")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._stopped.set()
        self._thread.join()
        # A crash leaves its trial behind, and the file shows that the trial's worker is dead.
        if kind is None or issubclass(kind, UserError):
            self._path(self.name).unlink(missing_ok=True)
        self._file.close()
        refused = kind is not None and issubclass(kind, UserError)
        if refused and self._new and [one.name for one in self.folder.iterdir()] == [LOCK]:
            self._path(LOCK).unlink()
            self.folder.rmdir()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Only one worker at a time is in here."""
        with self._path(LOCK).open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def dead(self, name: str | None) -> bool:
        """Whether the worker of that name has died; one whose file cannot be seen from here is taken for alive.

        None, a trial without a worker: within a `turn`, its worker died before it could sign.
        """
        if name is None:
            return True
        path = self._path(name)
        if name == self.name or not path.exists():
            return False
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return name.rpartition("-")[0].rpartition("-")[0] == _host() or self._silence(path) > self.heartbeat

    def unknown(self, name: str | None) -> bool:
        """Whether nothing can be said of a worker: it does not share this folder."""
        return name is not None and not self._path(name).exists()

    def _silence(self, path: Path) -> float:
        """Seconds since a worker's last sign of life, as the file system tells the time."""
        own = self._path(self.name)
        os.utime(own)
        return own.stat().st_mtime - path.stat().st_mtime

    def _beat(self) -> None:
        while not self._stopped.wait(self.heartbeat / BEATS):
            with contextlib.suppress(OSError):  # a disk that is away for a moment
                os.utime(self._path(self.name))

    def _path(self, name: str) -> Path:
        return self.folder / name


def _host() -> str:
    return socket.gethostname()
