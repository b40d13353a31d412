"""Run: a run's directory, where each of its files lies, and its record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue, nearest
from frontpage.command.notices import notice
from frontpage.runs.record import damage_of, read_record

MARKS = ("run.json", "run.lock")  # either makes a directory a run's; the second is there first


def _at(*names: str) -> property:
    """The place of one of a run's files."""
    return property(lambda run: run.path.joinpath(*names))


@dataclass
class Run:
    """A run's directory, whether it is trained just now or was long ago."""

    path: Path

    record_file = _at("run.json")
    lock_file = _at("run.lock")
    config_file = _at("config.yaml")
    tokenizer_file = _at("tokenizer.json")
    titles_file = _at("training_titles.npy")
    events_file = _at("events.jsonl")
    metrics_file = _at("metrics.csv")
    samples_file = _at("samples.txt")
    monitors_file = _at("monitors.jsonl")
    checkpoints = _at("checkpoints")
    best = _at("checkpoints", "best.ckpt")
    last = _at("checkpoints", "last.ckpt")

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it writes itself, but for its checkpoints."""
        texts = (self.record_file, self.lock_file, self.config_file, self.tokenizer_file)
        grown = (self.events_file, self.metrics_file, self.samples_file, self.monitors_file)
        return (*texts, self.titles_file, *grown)

    @property
    def torn(self) -> list[Path]:
        """What a crash has left of files that were being written."""
        return [*self.path.glob("*.partial"), *self.checkpoints.glob("*.partial")]

    @property
    def record(self) -> dict[str, Any] | None:
        """What `run.json` says; None where there is none, or, with a notice, where it is damaged."""
        record = read_record(self.path)
        if record is None and self.record_file.exists():
            notice(f"{self.path}: {damage_of(self.path)}; it counts as if it were not there")
        return record

    @property
    def can_be_reopened(self) -> bool:
        """Whether its settings and its tokenizer are there."""
        return self.config_file.is_file() and self.tokenizer_file.is_file()


def run_around(path: Path) -> Run:
    """The run whose `checkpoints` folder a file lies in, or would be: whether there is one is not asked."""
    return Run(path.absolute().parent.parent)


def find_runs(path: Path) -> list[Path]:
    """The run at `path`, or all that lie somewhere below it, in order; UserError where there is none."""
    if any((path / name).is_file() for name in MARKS):
        return [path.resolve()]
    found = {file.parent.resolve() for name in MARKS for file in path.rglob(name)} if path.is_dir() else set()
    if not found:
        if path.exists():
            raise BadValue("run", path, "no run's directory, and no folder that holds one")
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise BadValue("run", path, f"there is no such folder{nearest(path.name, beside)}")
    return sorted(found)
