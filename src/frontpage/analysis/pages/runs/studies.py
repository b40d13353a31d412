"""The sweeps beside the runs of a page."""

import os
from collections.abc import Sequence
from pathlib import Path

STUDY = "study.journal"


def studies(paths: Sequence[str], output: Path) -> list[tuple[str, str | None]]:
    """The sweeps below `paths`, each with the address of its page, seen from `output`, where it has one."""
    found = dict.fromkeys(journal.parent for path in paths for journal in sorted(Path(path).rglob(STUDY)))
    pages = {folder: folder / "report.html" for folder in found}
    here = output.resolve().parent
    return [
        (str(folder), Path(os.path.relpath(there.resolve(), here)).as_posix() if there.is_file() else None)
        for folder, there in pages.items()
    ]
