"""Where a study is kept: a journal file, which any number of processes may share, or a database."""

import contextlib
import os
import re
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from frontpage.disk_full import is_full
from frontpage.errors import bad_value
from frontpage.notices import notice

PATIENCE = 10  # seconds after which the lock of a writer that was killed is broken; a record takes milliseconds
KEY = "hydra.sweeper.storage"
RECORD = b'{"op_code":'  # how each line of a journal begins


def open_storage(place: str, base: str | Path = ".") -> optuna.storages.BaseStorage:
    """The storage of a path (a journal file, made if missing, relative to `base`), or of a URL.

    A last line that was cut short, by a full disk or a power cut, is removed, since the next writer would make all of
    the file unreadable. Raises UserError where it cannot be opened.
    """
    optuna.logging.disable_default_handler()  # it writes to stderr
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "://" in place:
        try:
            # A connection that was lost while a trial ran is opened again.
            return optuna.storages.get_storage(optuna.storages.RDBStorage(place, {"pool_pre_ping": True}))
        except Exception as error:  # of SQLAlchemy and of the database's driver
            raise bad_value(KEY, place, f"the database cannot be opened ({why_not_opened(error)})") from error
    path = Path(base, place).absolute()  # the lock is a link to the file, which Optuna follows
    lock = JournalFileSymlinkLock(str(path), grace_period=PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        _require_journal(place, path)
        _mend(path, lock)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        if is_full(error):
            raise
        raise bad_value(KEY, place, f"cannot be written ({error.strerror})") from error
    except ValueError as error:
        raise bad_value(KEY, place, f"not the journal of a study ({_first_line(error)})") from error


def _require_journal(place: str, path: Path) -> None:
    """Raise a UserError for a file that is something else, before anything is cut off it or written to it."""
    with path.open("rb") as file:
        start = file.read(len(RECORD))
    if start != RECORD[: len(start)]:
        raise bad_value(KEY, place, "not the journal of a study; name a new file, or a database: sqlite:///FILE")


def _mend(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut off what follows the last newline."""
    if _whole(path):
        return
    lock.acquire()
    try:
        if _whole(path):  # another process was writing
            return
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            os.fsync(file.fileno())
        notice(f"{path}: its last record was cut short and has been removed; the study goes on without it")
    finally:
        with contextlib.suppress(RuntimeError):
            lock.release()


def _whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def why_not_opened(error: BaseException) -> str:
    """One line: what the database or its driver said, below what Optuna makes of it."""
    said = _first_line(error)
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
        if re.search(r"\w", str(error)):
            said = _first_line(error)
    if isinstance(error, ModuleNotFoundError):
        said += "; for PostgreSQL: pip install -e '.[postgresql]', and postgresql+psycopg2://..."
    return said


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
