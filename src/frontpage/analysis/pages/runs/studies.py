"""The sweeps beside the runs of a page."""

import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

STUDY = "study.journal"


def studies(paths: Sequence[str], output: Path) -> list[tuple[str, str | None]]:
    """The sweeps below `paths`, each with the address of its page, seen from `output`, where it has one."""
    found = dict.fromkeys(journal.parent for path in paths for journal in sorted(Path(path).rglob(STUDY)))
    pages = {folder: folder / "report.html" for folder in found}
    here = output.resolve().parent
    return [
        (str(folder), _address(Path(os.path.relpath(there.resolve(), here))) if there.is_file() else None)
        for folder, there in pages.items()
    ]


def _address(path: Path) -> str:
    """A relative path as a link has it: quoted, so that no `#` or colon in a name means more than itself."""
    return urllib.parse.quote(os.fsencode(path.as_posix()))
