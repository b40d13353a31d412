"""The curves of a run: what it logged on its way, against updates, tokens and seconds."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from frontpage.command.notices import notice
from frontpage.runs.record import LARGEST, read_record
from frontpage.runs.run import Run

TRAINING = ("train/learning_rate", "train/grad_norm", "train/weight_norm", "time/tokens_per_second")  # of metrics.csv

MOST_UPDATES = 2**53  # what a script of a page can count
One = TypeVar("One")


class Point(NamedTuple):
    """One value of a curve."""

    update: int  # optimizer updates so far
    tokens: float  # trained on so far, at the run's mean an update
    seconds: float  # since the run's start
    value: float


def read_curves(directory: Path | str) -> dict[str, list[Point]]:
    """Curves by the names of metrics, in order of updates: the losses of `events.jsonl`, and rates of `metrics.csv`.

    Lines that a crash has cut off, and values that are no finite numbers, are left out; no files, no curves.
    """
    run = Run(Path(directory))
    record = read_record(run.path) or {}
    tokens = (record.get("tokens_seen") or 0) / max(record.get("steps") or 1, 1)
    curves: dict[str, dict[int, Point]] = {}
    for name, update, seconds, value in (*_events(run.events_file), *_rates(run.metrics_file)):
        if abs(value) <= LARGEST and 0 <= seconds <= LARGEST and 0 <= update <= MOST_UPDATES:  # NaN is in no range
            curves.setdefault(name, {})[update] = Point(update, update * tokens, seconds, value)
    return {name: [points[update] for update in sorted(points)] for name, points in curves.items()}


def logged(directory: Path | str, name: str) -> list[tuple[int, float]]:
    """(update, value) of what metrics.csv has under a name, in order; what is no finite number is left out."""
    found = {}
    for row in _rows(Run(Path(directory)).metrics_file):
        try:
            update, value = int(row["step"]) + 1, float(row[name] or "")
        except (ValueError, KeyError, TypeError):  # a row of something else, or cut off
            continue
        if abs(value) <= LARGEST and 0 <= update <= MOST_UPDATES:
            found[update] = value
    return sorted(found.items())


def thinned(points: list[One], most: int) -> list[One]:
    """At most `most` of the points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def _events(path: Path) -> Iterator[tuple[str, int, float, float]]:
    for line in _lines(path):
        try:
            event = json.loads(line)
            kind, update, seconds = event["event"], int(event["step"]), float(event["elapsed_time"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # cut off, or an event without a step
            continue
        if kind == "training_step" and _number(event.get("loss")):
            yield "train/loss", update, seconds, event["loss"]
        if kind == "validation_step":
            yield from ((name, update, seconds, value) for name, value in event.items() if _validated(name, value))


def _validated(name: str, value: object) -> bool:
    return name.startswith("val/") and _number(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rates(path: Path) -> Iterator[tuple[str, int, float, float]]:
    for row in _rows(path):
        for name in TRAINING:
            try:
                yield name, int(row["step"] or "") + 1, float(row["time/elapsed_seconds"]), float(row[name] or "")
            except (ValueError, KeyError, TypeError):  # a row of a validation, or cut off
                continue


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a table, each read by itself, so that what damage has made of one is no other one's harm."""
    columns, *lines = _lines(path) or [""]
    try:
        names = next(csv.reader([columns]), [])
        for line in lines:
            yield dict(zip(names, next(csv.reader([line]), []), strict=False))
    except csv.Error as error:
        notice(f"{path}: damaged ({error}); its curves end there")


def _lines(path: Path) -> list[str]:
    """The lines of a file that are UTF-8, the last one even if it is cut off; a notice counts the others."""
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
    except OSError as error:
        notice(f"{path}: cannot be read ({error.strerror}); it is left out")
        return []
    texts = [text for text in map(_decoded, lines) if text is not None]
    if len(texts) < len(lines):
        notice(f"{path}: {len(lines) - len(texts)} damaged lines are left out")
    return texts


def _decoded(line: bytes) -> str | None:
    try:
        return line.rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        return None
