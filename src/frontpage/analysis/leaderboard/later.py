"""A record's weights on titles of a later time: scored once a file, without what they were trained or chosen on."""

import argparse
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from frontpage.analysis.comparison import validation_titles
from frontpage.analysis.ensemble import average_on
from frontpage.analysis.leaderboard import records
from frontpage.analysis.leaderboard.records import LATER, Record
from frontpage.command.errors import BadValue
from frontpage.command.json_file import write_json
from frontpage.data.entities import without_entities
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles
from frontpage.evaluation.metrics import HEADLINE
from frontpage.runs.git_state import git_state
from frontpage.runs.run import Run
from frontpage.runs.stored_config import stored_config
from frontpage.runs.training_titles import load_training_titles, seen_in_training, title_hashes


def score_later(
    record: Record, runs: Sequence[Path], file: str, trusted: Sequence[Path] = (), keep: bool = True
) -> dict[str, Any]:
    """Score new runs of a record, one or an ensemble, on the distinct titles of `file`, and `keep` that beside it.

    Titles that the runs have trained on, or were validated on, are left out and counted. What was scored on the same
    titles before is given back, and nothing is scored again. UserError where nothing is left, and where a run does not
    say what it has trained on.
    """
    config = stored_config(Run(runs[0])).data
    rows = read_titles(file, config.get("column", "title"), key="--later")
    titles = distinct_titles(without_entities(rows, config.get("unescape_html", False), f"--later={file}"))
    fingerprint = hashlib.sha256("\n".join(sorted(titles)).encode("utf-8", "surrogatepass")).hexdigest()
    before = _scored(record, fingerprint)
    if before is not None:
        return before
    trained, chosen = np.zeros(len(titles), bool), np.zeros(len(titles), bool)
    for run in runs:
        known = load_training_titles(Run(run))
        if known is None:
            raise BadValue("--later", file, f"{run} does not say which titles it has trained on")
        trained |= seen_in_training(titles, known)
        chosen |= seen_in_training(titles, title_hashes(validation_titles(stored_config(Run(run)), run, trusted)))
    left = [title for title, out in zip(titles, (trained | chosen).tolist(), strict=True) if not out]
    if not left:
        raise BadValue("--later", file, f"all {len(titles)} titles of it were trained on or validated on")
    given = argparse.Namespace(checkpoint=None, device="auto", trust=list(trusted))
    found = average_on(given, [str(run) for run in runs], left, file)
    score = {
        "file": Path(file).name,
        "fingerprint": fingerprint,
        "titles": len(left),
        "trained_on": int(trained.sum()),
        "validated_on": int((chosen & ~trained).sum()),
        "value": found.metrics[HEADLINE.name],
        "error": found.metrics[HEADLINE.error],
        "runs": [stored_config(Run(run)).seed for run in runs],
        "git_commit": git_state()["git_commit"],
        "when": f"{datetime.now():%Y-%m-%d}",
    }
    if keep:
        before = _scored(record, fingerprint)  # by another repetition meanwhile
        if before is not None:
            return before
        write_json(records.RECORDS / record.name / LATER, [*records.read_record(record.name).later, score])
    return score


def _scored(record: Record, fingerprint: str) -> dict[str, Any] | None:
    """What these titles gave before, as the record says now."""
    return next((one for one in records.read_record(record.name).later if one["fingerprint"] == fingerprint), None)
