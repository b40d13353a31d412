"""The folder that an export is written to: a new or empty one, filled beside its place and renamed when it is whole."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontpage.command.errors import BadValue


def check_new(folder: Path) -> None:
    """Raise a UserError unless `folder` can be made, or is there and empty."""
    there = folder.exists()
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise BadValue("--output", folder, "exists and is not empty; a new or an empty folder is needed")
    if there and os.path.ismount(folder):
        raise BadValue("--output", folder, "is a mount point, which cannot be replaced; name a folder in it")
    parent = next(parent for parent in folder.resolve().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BadValue("--output", folder, f"cannot be made: {parent} is no folder that can be written")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, which becomes `folder` at the end, or vanishes where something goes wrong.

    A link to an empty folder is followed.
    """
    check_new(folder)
    try:
        place = folder.resolve()
        partial = place.with_name(f".{secrets.token_hex(8)}.partial")  # no folder that is there already
        partial.mkdir(parents=True)
    except OSError as error:  # the disk may be read-only though the folder's permissions are not
        raise BadValue("--output", folder, f"cannot be made ({error.strerror})") from error
    try:
        yield partial
        if place.exists():
            place.rmdir()
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
