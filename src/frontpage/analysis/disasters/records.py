"""What two runs of the same settings must have in common: their tables and events, without what a clock measures."""

import csv
import json
from pathlib import Path
from typing import Any

MEASURED = ("time/", "memory/", "elapsed_time", "timestamp")  # what no two runs have in common


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without what is measured by a clock."""
    with path.open(newline="", encoding="utf-8") as file:
        return [timeless(row) for row in csv.DictReader(file)]


def events(path: Path) -> list[dict[str, Any]]:
    """The events that have a step; the others are said by each session."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [timeless(event) for event in map(json.loads, lines) if "step" in event]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what no two runs have in common."""
    return {name: value for name, value in row.items() if not name.startswith(MEASURED)}
