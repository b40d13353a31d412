"""The winner's score on a file of titles that the search has not seen: computed once, kept beside the study."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from frontpage.analysis.comparison import validation_titles
from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial
from frontpage.command.errors import BadValue, UserError
from frontpage.command.json_file import write_json
from frontpage.command.notices import notice
from frontpage.data.title_file import TitleFile, read_title_file
from frontpage.evaluation.metrics import HEADLINE
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.run_arguments import reopen
from frontpage.runs.training_titles import seen_in_training, title_hashes

FILE = "test_score_{}.json"  # in the study's folder: a list, since a second score does not unmake the first


@dataclass(frozen=True)
class TestScore:
    """How a trial's best checkpoint scored on titles that it was neither trained nor chosen on."""

    __test__ = False  # no test of pytest's

    study: str
    trial: int
    source: str
    fingerprint: str  # of the titles
    titles: int  # of the file
    trained_on: int | None  # of these titles; None where the run does not say
    chosen_on: int | None  # of these titles, validated on; None where the search's own titles cannot be read again
    metrics: dict[str, float | None]  # of all titles of the file
    metrics_unseen: dict[str, float | None]  # without those that were trained or chosen on
    when: str
    scored: int | None = None  # of these titles, those that metrics_unseen are of; None in an older file

    @property
    def value(self) -> float:
        """`val/nats_per_char` of the unseen titles."""
        return self.metrics_unseen[HEADLINE.name]

    @property
    def of_titles(self) -> str:
        """How many titles the value is of, in words."""
        return f"at most {self.titles:,}" if self.scored is None else f"{self.scored:,}"

    @property
    def error(self) -> float | None:
        """Its standard error; None for a single title."""
        return self.metrics_unseen[HEADLINE.error]


def kept_scores(sweep: Sweep) -> list[TestScore]:
    """What has been scored before, oldest first; UserError where the file is damaged."""
    path = _file_of(sweep)
    if path is None or not path.is_file():
        return []
    try:
        return [TestScore(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise BadValue("--test", path, "the scores kept there cannot be read; move the file away") from error


def score_winner(
    sweep: Sweep, trial: SweepTrial, source: str, column: str | None, again: bool, trusted: Sequence[Path] = ()
) -> list[TestScore]:
    """Score `trial` on the file `source` unless that was done before; returns all scores, oldest first.

    Raises UserError where another trial or another file has been scored and `again` is not set: a test set that
    several winners were compared on is a second validation set.
    """
    path, kept = _file_of(sweep), kept_scores(sweep)
    if path is None:
        raise BadValue("--test", source, "the study's folder is not there, so the score could not be kept")
    data = (trial.record.get("config") or {}).get("data") or {}
    test = read_title_file(source, data | ({"column": column} if column else {}), key="--test")
    titles = test.titles
    fingerprint = hashlib.sha256("\n".join(sorted(titles)).encode("utf-8", "surrogatepass")).hexdigest()
    same = [one for one in kept if (one.trial, one.fingerprint) == (trial.number, fingerprint)]
    if same:
        print(f"test: trial {trial.number} was scored on {same[-1].source} before, {same[-1].when}; not scored again")
        return kept
    if kept and not again:
        last = kept[-1]
        allowed = f"trial {last.trial} was scored on {last.source} before, {last.when}, and this is"
        what = f"trial {trial.number}" if last.fingerprint == fingerprint else "another file"
        raise BadValue("--test", source, f"{allowed} {what}; a test set serves once. --again scores all the same")
    score = _score(sweep, trial, source, test, fingerprint, trusted)
    kept.append(score)
    try:
        write_json(path, [asdict(one) for one in kept])
    except OSError as error:
        raise BadValue("--test", source, f"the score cannot be kept in {path} ({error.strerror})") from error
    print(f"test: kept in {path}")
    return kept


def _file_of(sweep: Sweep) -> Path | None:
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in sweep.name)
    return sweep.folder / FILE.format(safe) if sweep.folder and sweep.folder.is_dir() else None


def _score(
    sweep: Sweep, trial: SweepTrial, source: str, test: TitleFile, fingerprint: str, trusted: Sequence[Path]
) -> TestScore:
    if trial.directory is None:
        raise BadValue("--test", source, f"trial {trial.number} has no run directory any more")
    run = argparse.Namespace(run=str(trial.directory), checkpoint="best", device="auto", json=None, trust=trusted)
    config, module, known = reopen(run)
    titles, documents, _ = test
    validated = _validation_titles(config, trial.directory, trusted)
    trained = None if known is None else seen_in_training(titles, known)
    chosen = None if validated is None else seen_in_training(titles, title_hashes(validated))
    seen = np.zeros(len(titles), bool)
    for those in (trained, chosen):
        seen |= False if those is None else those
    of_seen = documents.with_any(seen)
    if of_seen.all():
        raise BadValue("--test", source, f"all {len(titles)} titles of it were trained or chosen on by the search")
    scored = ScoredTitles(module, titles, config.data, watch="scoring", documents=documents)
    metrics = scored.metrics()
    return TestScore(
        study=sweep.name,
        trial=trial.number,
        source=source,
        fingerprint=fingerprint,
        titles=len(titles),
        trained_on=_count(trained),
        chosen_on=_count(chosen),
        metrics=metrics,
        metrics_unseen=scored.metrics(~of_seen) if seen.any() else metrics,
        when=f"{datetime.now():%Y-%m-%d %H:%M}",
        scored=int(documents.sums(torch.ones(len(titles)))[~of_seen].sum()),
    )


def _validation_titles(config: DictConfig, directory: Path, trusted: Sequence[Path]) -> list[str] | None:
    """The titles that the trials were compared on, from their data; None with a notice where that is gone."""
    try:
        return validation_titles(config, directory, trusted)
    except UserError as error:
        notice(f"which titles the search was validated on is not known now, so none are left out ({error})")
        return None


def _count(which: np.ndarray | None) -> int | None:
    return None if which is None else int(which.sum())
