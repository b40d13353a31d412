"""Which study is meant: a name, a journal file, a database URL; opened to be read, nothing is created."""

import json
from pathlib import Path
from typing import NamedTuple

import optuna
from omegaconf import OmegaConf
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.extras import installing
from frontpage.sweeps.storage import why_not_opened

JOURNAL = "study.journal"
SQLITE = "sqlite:///"


class OpenedStudy(NamedTuple):
    """A study, the folder that its storage lies in (None: a database server), and whether it is alone in there."""

    study: optuna.Study
    folder: Path | None
    alone: bool = True


def open_study(given: str) -> OpenedStudy:
    """The study that `given` means: a name below `logs/sweeps/`, a journal file, a folder with one, or a database URL.

    `#NAME` behind a file or a URL picks one of several studies. Raises UserError.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it writes to stderr, which is for errors
    place, _, name = given.partition("#")
    if "://" in place:
        return _pick(_database(place, given), given, name, _folder_of(place))
    path = Path(place)
    if not path.exists() and "/" not in place:
        path, name = sweeps_folder() / place, name or place
    path = path / JOURNAL if path.is_dir() else path
    if not path.is_file():
        raise BadValue("study", given, _not_there(path))
    return _pick(_journal(path, given), given, name, path.parent)


def sweeps_folder() -> Path:
    """Where sweeps lie, by their names: `${paths.log_dir}/sweeps`."""
    return Path(OmegaConf.load(Path(CONFIGS, "paths", "default.yaml")).log_dir) / "sweeps"


def _not_there(path: Path) -> str:
    if path.name == JOURNAL and path.parent.is_dir():
        return f"{path.parent} has no {JOURNAL}; of a study in a database give the URL"
    known = sorted(journal.parent.name for journal in sweeps_folder().glob(f"*/{JOURNAL}"))
    word = path.parent.name if path.name == JOURNAL else path.name
    there = f"{sweeps_folder()} has: {' '.join(known[:20])}" if known else f"{sweeps_folder()} has none"
    return f"no such study{nearest(word, known)}; {there}"


def _journal(path: Path, given: str) -> BaseStorage:
    """A journal's storage; its last line may be cut off, as a kill leaves it."""
    try:
        with path.open("rb") as file:
            first = file.readline()
        if first and "op_code" not in json.loads(first):
            raise ValueError("no operations in it")
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise BadValue("study", given, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise BadValue("study", given, "not a journal file of Optuna's, nor the name of a study") from error


def _database(url: str, given: str) -> BaseStorage:
    file = url.removeprefix(SQLITE)
    if file != url and not Path(file).is_file():  # SQLite would make one
        raise BadValue("study", given, f"there is no file {file}")
    try:
        return RDBStorage(url, skip_table_creation=True)
    except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
        raise BadValue("study", given, f"no database of Optuna's ({why_not_opened(error)})") from error


def _pick(storage: BaseStorage, given: str, name: str, folder: Path | None) -> OpenedStudy:
    try:
        names = [study.study_name for study in storage.get_all_studies()]
        if not names:
            raise BadValue("study", given, "holds no study yet")
        if not name and len(names) > 1:
            raise BadValue("study", given, f"holds several; add one of #{' #'.join(names)}")
        if name and name not in names:
            raise BadValue("study", given, f"no study {name} in there{nearest(name, names)}; it has: {' '.join(names)}")
        return OpenedStudy(optuna.load_study(study_name=name or names[0], storage=storage), folder, len(names) == 1)
    except (SQLAlchemyError, OptunaError) as error:
        raise BadValue("study", given, f"no database of Optuna's ({why_not_opened(error)})") from error


def _folder_of(url: str) -> Path | None:
    return Path(url.removeprefix(SQLITE)).parent if url.startswith(SQLITE) else None


def need_plotly() -> None:
    """Raise a UserError where plotly is missing."""
    try:
        import plotly  # noqa: F401
    except ImportError as error:
        raise UserError(f"plotly is missing: {installing('report')}") from error
