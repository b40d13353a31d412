"""What the runs that a run learns from have seen: a student is validated on titles that its teachers do not know."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles, title_hashes


def titles_of_teachers(teachers: Sequence[Path | str]) -> np.ndarray | None:
    """Hashes of all titles that any of the runs has trained on, (titles,); None where nobody teaches or none says."""
    found = [load_training_titles(Run(Path(teacher))) for teacher in teachers]
    known = [hashes for hashes in found if hashes is not None]
    return np.unique(np.concatenate(known)) if known else None


def check_teachers(teachers: Sequence[Path | str], key: str, training: Sequence[str], held_out: Sequence[str]) -> None:
    """Raise a UserError at `key` for a run that has trained on held-out titles which are no training titles here."""
    if not teachers:
        return
    hashes = np.setdiff1d(title_hashes(held_out), title_hashes(training))
    for teacher in teachers:
        known = load_training_titles(Run(Path(teacher)))
        if known is None:
            notice(f"{key}={teacher}: the titles that it has trained on are not known; some may be held out here")
            continue
        seen = int(np.isin(hashes, known).sum())
        if seen:
            allowed = f"it has trained on {seen:,} of the {len(hashes):,} titles that are held out here"
            raise BadValue(key, teacher, f"{allowed}; a run of the same split")
