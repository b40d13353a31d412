"""Records as they are kept: a folder each, with a paragraph, and of each run its run.json and its titles' nats."""

import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontpage.analysis.leaderboard.experiment import TEACHER, Recipe
from frontpage.analysis.leaderboard.scores import KeptScores, load_scores
from frontpage.analysis.leaderboard.tracks import TRACKS, Track
from frontpage.command.config_folder import ROOT
from frontpage.command.errors import BadValue, nearest
from frontpage.command.leaves import leaves
from frontpage.evaluation.metrics import HEADLINE
from frontpage.runs.record import damage_of, told
from frontpage.runs.record import read_record as read_run

RECORDS = ROOT / "docs" / "records"
NAME = re.compile(r"[a-z][a-z0-9_]*")
ABOUT, ENTRY, LATER = "about.md", "record.json", "later.json"
SCORES = "titles.npz"  # of a run in its folder; of the average of an ensemble beside those


@dataclass(frozen=True)
class KeptRun:
    """One run of a record: what its run.json says, without its machine's paths, and its scores."""

    seed: int
    record: dict[str, Any]
    scores: KeptScores


@dataclass(frozen=True)
class Record:
    """A claim: the loss of a recipe, by its runs."""

    name: str
    track: Track
    recipe: Recipe
    reaches: str | None  # the record whose loss it reaches, in a track of work
    about: str
    runs: list[KeptRun]  # by seed
    averaged: KeptScores | None  # of the mean of their probabilities, in a track of ensembles
    later: list[dict[str, Any]]  # scores on titles of a later time

    @property
    def titles(self) -> str:
        """Tells the validation titles apart."""
        return self.runs[0].scores.titles

    @property
    def nll(self) -> Tensor:
        """Nats of each title, (titles,): the mean over the runs, or of their averaged probabilities."""
        if self.averaged is not None:
            return self.averaged.nll
        return torch.stack([run.scores.nll for run in self.runs]).mean(0)

    @property
    def characters(self) -> Tensor:
        """Of each title, (titles,)."""
        return self.runs[0].scores.characters

    @property
    def loss(self) -> float:
        """`val/nats_per_char`."""
        return float(self.nll.sum() / self.characters.sum())

    @property
    def last(self) -> float | None:
        """The same of the runs' last validations, as they were measured in training; None of an average of runs."""
        values = [told(run.record, "metrics", "final", HEADLINE.name) for run in self.runs]
        known = self.averaged is None and all(isinstance(value, float) for value in values)
        return statistics.fmean(values) if known else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the loss over seeds; None of one run, and of an ensemble."""
        values = [run.scores.value[0] for run in self.runs]
        return statistics.stdev(values) if len(values) > 1 and self.averaged is None else None

    @property
    def error(self) -> float:
        """Standard error of the loss, over seeds; over titles of one run, and of an ensemble."""
        if self.spread is not None:
            return self.spread / math.sqrt(len(self.runs))
        return (self.averaged or self.runs[0].scores).value[1]

    def work(self, name: str) -> float | None:
        """A number of run.json, of all runs of an ensemble together, else their mean; None where one lacks it."""
        values = [run.record.get(name) for run in self.runs]
        if any(value is None for value in values):
            return None
        return sum(values) if self.averaged is not None else statistics.fmean(values)


def read_record(name: str) -> Record:
    """The record of that name; UserError where there is none, and for one that is damaged."""
    place, known = RECORDS / name, record_names()
    if name not in known:
        said = f"; there are: {' '.join(known)}" if known else "; there is none yet"
        raise BadValue("record", name, f"no such record in {RECORDS}{nearest(name, known)}{said}")
    entry = json_of(place / ENTRY)
    track = TRACKS.get(entry.get("track"))
    if track is None:
        raise BadValue("record", place / ENTRY, f"its track is none of {' '.join(TRACKS)}")
    runs = sorted(_runs(place), key=lambda run: run.seed)
    if not runs:
        raise BadValue("record", place, "it holds no run, such as seed_1/run.json")
    if len({run.scores.titles for run in runs}) > 1:
        raise BadValue("record", place, "its runs were validated on different titles")
    return Record(
        name=name,
        track=track,
        recipe=Recipe(str(entry["experiment"]), tuple(map(str, entry.get("overrides", ())))),
        reaches=entry.get("reaches"),
        about=_text(place / ABOUT),
        runs=runs,
        averaged=load_scores(place / SCORES) if track.ensembles and not teacher_of(runs[0].record) else None,
        later=json_of(place / LATER) if (place / LATER).is_file() else [],
    )


def teacher_of(run: Mapping[str, Any]) -> str | None:
    """The key by which a run.json names runs that it learns from; None of a run that learns from titles alone."""
    named = leaves(run["config"]["model"])
    return next((f"model.{path}" for path, value in named if path.split(".")[-1] == TEACHER and value), None)


def record_names() -> list[str]:
    """Those of all records that there are."""
    return sorted(path.parent.name for path in RECORDS.glob(f"*/{ENTRY}") if NAME.fullmatch(path.parent.name))


def all_records() -> list[Record]:
    """Every record, by name."""
    return [read_record(name) for name in record_names()]


def _runs(place: Path) -> Iterator[KeptRun]:
    for path in place.glob("seed_*"):
        record = read_run(path)
        seed = told(record, "config", "seed")
        if record is None or not isinstance(seed, int):
            raise BadValue("record", path, damage_of(path) or "its run.json has no config.seed")
        yield KeptRun(seed, record, load_scores(path / SCORES))


def json_of(path: Path) -> Any:
    """What a file of a record holds; UserError where it cannot be read."""
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise BadValue("record", path, f"is no JSON ({error})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue("record", path, f"cannot be read ({error})") from error
