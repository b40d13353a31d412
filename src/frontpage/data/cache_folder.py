"""A folder of the cache: made once, whole or not there, checked by checksums whenever it is opened."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from frontpage.command.disk_full import is_full, writing
from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.command.process_family import is_helper

CHECKSUMS = "checksums.json"


@contextmanager
def cache_folder(
    cache_dir: Path | str, key: str, needed: set[str], build: Callable[[Path], None], what: str
) -> Iterator[Path]:
    """The folder `key` with the `needed` files, which `build(folder)` makes where it is not there yet.

    It is filled under another name and then renamed, under a lock, so two runs that start at once build it once. A
    folder whose files do not match its checksums is rebuilt, and a notice says so, by the name of `what` it is. The
    first process of a run alone compares them, which means to read all. Raises UserError.
    """
    folder = Path(cache_dir) / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            problem = None if is_helper() else _problem(folder, needed)
            if problem:
                notice(f"the {what} {folder} was corrupt ({problem}) and was rebuilt")
                shutil.rmtree(folder)
            if not folder.exists():
                _build(folder, build)
            yield folder
    except OSError as error:
        if is_full(error):
            raise
        raise BadValue("paths.cache_dir", cache_dir, f"cannot be written ({error.strerror})") from error


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed run left; we hold the lock
    try:
        with writing(folder):
            building.mkdir()
            build(building)
            checksums = {path.name: _checksum(path) for path in sorted(building.iterdir())}
            (building / CHECKSUMS).write_text(json.dumps(checksums, indent=1))
            os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _problem(folder: Path, needed: set[str]) -> str | None:
    """What is wrong with an existing folder, or None."""
    if not folder.exists():
        return None
    try:
        checksums = json.loads((folder / CHECKSUMS).read_text())
        if not needed <= checksums.keys():
            return f"{CHECKSUMS} is incomplete"
        for name, expected in checksums.items():
            if _checksum(folder / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError, AttributeError) as error:
        return f"{type(error).__name__} in {CHECKSUMS} or a file it names"
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
