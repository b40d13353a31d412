"""What monitors and the detector of runs have seen (docs/monitors.md): drift of layers, classes apart, transitions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontpage.analysis.curves import logged, thinned
from frontpage.analysis.pages.runs.pictures import Line, Lines, lines_of
from frontpage.analysis.table import Row
from frontpage.runs.kept_lines import json_of
from frontpage.runs.record import LARGEST
from frontpage.runs.run import Run

MOST_POINTS = 200  # of the detector's lines
LAYERS_SHOWN = 9  # lines of drift: the mean, and layers evenly chosen
ALIGNED = {
    "layers": "each layer and the next one",
    "languages": "each layer in two translations",
    "reference": "each layer and that of the run it is compared with",
}


def monitors(rows: Sequence[Row]) -> dict[str, list[tuple[str, Lines | None]]]:
    """By the names of runs that have been watched: what their monitors saw, each picture with its caption."""
    found = {one["run"]: _pictures(Path(one["directory"])) for one in rows}
    return {run: pictures for run, pictures in found.items() if pictures}


def measurements(path: Path, monitor: str) -> list[dict[str, Any]]:
    """The lines of a monitor, one for each update, in their order; those that damage has left unreadable are not."""
    found = {}
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        one = json_of(line)
        named = isinstance(one, dict) and one.get("monitor") == monitor
        if named and type(one.get("step")) is int and 0 <= one["step"] <= LARGEST and isinstance(one.get("rows"), list):
            found[one["step"]] = one | {"rows": [row for row in one["rows"] if _placed(row)]}
    return [found[step] for step in sorted(found)]


def _pictures(directory: Path) -> list[tuple[str, Lines | None]]:
    path = Run(directory).monitors_file
    parts = [*_procrustes(measurements(path, "procrustes")), *_concepts(measurements(path, "concepts"))]
    return parts + _detector(directory)


def _procrustes(found: Sequence[dict[str, Any]]) -> list[tuple[str, Lines | None]]:
    parts = []
    for mode, words in ALIGNED.items():
        rows, step = _newest(found, mode)
        if rows:
            lines = [_across(rows, "disparity"), _across(rows, "shuffled", baseline=True), _across(rows, "cka")]
            parts.append((f"{words}, at update {step}", lines_of(lines, "layer", f"disparity of {words}")))
    drift = [(one["step"], [row for row in one["rows"] if row.get("mode") == "drift"]) for one in found]
    drift = [(step, rows) for step, rows in drift if rows]
    if drift:
        layers = sorted({row["layer"] for _, rows in drift for row in rows})
        lines = [Line("mean of the layers", _means(drift, "disparity"))]
        lines += [Line(f"layer {layer}", _of_layer(drift, layer, "disparity")) for layer in _some(layers)]
        parts.append(("each layer since the measurement before", lines_of(lines, "update", "drift of layers")))
    return parts


def _concepts(found: Sequence[dict[str, Any]]) -> list[tuple[str, Lines | None]]:
    if not found:
        return []
    steps, rows = [(one["step"], one["rows"]) for one in found], found[-1]["rows"]
    over = [
        Line("silhouette", _means(steps, "silhouette")),
        Line("permuted labels", _means(steps, "silhouette_permuted"), baseline=True),
    ]
    across = [_across(rows, "silhouette"), _across(rows, "silhouette_permuted", baseline=True), _across(rows, "nmi")]
    classes = found[-1].get("classes")
    named = ", ".join(map(str, classes)) if isinstance(classes, list) else "classes"
    return [
        (f"{named}: the mean of the layers", lines_of(over, "update", "silhouette over updates")),
        (f"{named}: at update {found[-1]['step']}", lines_of(across, "layer", "silhouette of layers")),
    ]


def _detector(directory: Path) -> list[tuple[str, Lines | None]]:
    drop, state = (thinned(logged(directory, f"grokking/{name}"), MOST_POINTS) for name in ("drop", "state"))
    if not state:
        return []
    lines = [Line("drop, a share of the baseline", drop), Line("state", state)]
    return [("the detector of sudden changes", lines_of(lines, "update", "drop and state of the detector"))]


def _newest(found: Sequence[dict[str, Any]], mode: str) -> tuple[list[dict[str, Any]], int]:
    for one in reversed(found):
        rows = [row for row in one["rows"] if row.get("mode") == mode]
        if rows:
            return rows, one["step"]
    return [], 0


def _across(rows: Sequence[dict[str, Any]], name: str, baseline: bool = False) -> Line:
    words = {"shuffled": "shuffled texts", "cka": "linear CKA", "silhouette_permuted": "permuted labels", "nmi": "NMI"}
    points = [(row["layer"], row[name]) for row in rows if _number(row.get(name))]
    return Line(words.get(name, name), sorted(points), baseline)


def _means(steps: Sequence[tuple[int, list[dict[str, Any]]]], name: str) -> list[tuple[int, float]]:
    values = [(step, [row[name] for row in rows if _number(row.get(name))]) for step, rows in steps]
    return [(step, sum(some) / len(some)) for step, some in values if some]


def _of_layer(steps: Sequence[tuple[int, list[dict[str, Any]]]], layer: int, name: str) -> list[tuple[int, float]]:
    return [
        (step, row[name]) for step, rows in steps for row in rows if row["layer"] == layer and _number(row.get(name))
    ]


def _some(layers: list[int]) -> list[int]:
    """At most LAYERS_SHOWN of the layers, evenly chosen, the first and the last among them."""
    if len(layers) <= LAYERS_SHOWN:
        return layers
    return [layers[round(place * (len(layers) - 1) / (LAYERS_SHOWN - 1))] for place in range(LAYERS_SHOWN)]


def _placed(row: Any) -> bool:
    """Whether it is a row about a layer."""
    return isinstance(row, dict) and type(row.get("layer")) is int and 0 <= row["layer"] <= LARGEST


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST
