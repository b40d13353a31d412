"""Where a study is kept: a journal file, which any number of processes may share, or a database."""

import re
from pathlib import Path

import optuna
from sqlalchemy.pool import NullPool

from frontpage.command.disk_full import is_full
from frontpage.command.errors import BadValue
from frontpage.command.extras import installing
from frontpage.sweeps.journal import Journal, is_journal

PATIENCE = 10  # seconds after which the lock of a writer that was killed is broken; a record takes milliseconds
KEY = "hydra.sweeper.storage"


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
            # No connection is kept, so that none is lost while a trial runs, and none is left behind.
            return optuna.storages.get_storage(optuna.storages.RDBStorage(place, {"poolclass": NullPool}))
        except Exception as error:  # of SQLAlchemy and of the database's driver
            raise BadValue(KEY, place, f"the database cannot be opened ({why_not_opened(error)})") from error
    path = Path(base, place).absolute()  # the lock is a link to the file, which Optuna follows
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise BadValue(KEY, place, "a file, or with :// a database")
        path.open("ab").close()
        allowed = "not the journal of a study; name a new file, or a database: sqlite:///FILE"
        if not is_journal(path):
            raise BadValue(KEY, place, allowed)
        return optuna.storages.JournalStorage(Journal(path, PATIENCE))
    except OSError as error:
        if is_full(error):
            raise
        raise BadValue(KEY, place, f"cannot be written ({error.strerror})") from error
    except ValueError as error:
        raise BadValue(KEY, place, f"not the journal of a study ({_first_line(error)})") from error


def why_not_opened(error: BaseException) -> str:
    """One line: what the database or its driver said, below what Optuna makes of it."""
    said = _first_line(error)
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
        if re.search(r"\w", str(error)):
            said = _first_line(error)
    if isinstance(error, ModuleNotFoundError):
        said += f"; tried are sqlite:///FILE and, with {installing('postgresql')}, postgresql://..."
    return said


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
