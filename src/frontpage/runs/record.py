"""A run's `run.json`, looked at before anyone reads on: one damaged record must not surprise a page of many runs."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from frontpage.evaluation.declared import Metric
from frontpage.evaluation.metrics import HEADLINE

LARGEST = 1e100  # of a number: no product of two overflows
TEXTS = "status reason command device processor precision validated_weights git_commit config.name"
TEXTS += " data.source data.fingerprint headline.name headline.better headline.error headline.unit headline.needs"
NUMBERS = (
    "parameters non_embedding_parameters steps tokens_seen titles_shown seconds tokens_per_second training_flops passes"
    " model_flops_utilization matmul_peak_flops peak_memory_bytes estimated_memory_bytes micro_batch"
    " accumulate_grad_batches world_size data.train_titles data.validation_titles data.train_tokens"
    " data.validation_tokens data.validation_characters"
)
MAPPINGS = "config config.data config.model config.trainer config.paths metrics"  # where they are there
MAPPINGS_OR_NULL = "data attention test versions headline"
MAPPINGS_OF_NUMBERS = "metrics.final metrics.best metrics.chance test.metrics"  # or null


def read_record(directory: Path | str) -> dict[str, Any] | None:
    """The `run.json` of a run's directory; None where there is none, or `damage_of` finds something wrong with it."""
    record = _read(Path(directory))
    return record if isinstance(record, dict) and _problem(record) is None else None


def headline_of(record: Mapping[str, Any]) -> Metric:
    """The metric that says how good a run is; of a record from before this was written, that of titles."""
    said = record.get("headline") or {}
    return Metric(**{one.name: said.get(one.name) for one in fields(Metric)}) if said.get("name") else HEADLINE


def told(record: object, *keys: str) -> Any:
    """What a record or a config says under nested keys; None where it lacks one, or holds no mapping there."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def sittings_of(record: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Of a run that was continued, and of any since they are written down; none where they make no sense."""
    found = told(record, "sittings")
    return found if isinstance(found, list) and all(isinstance(one, Mapping) for one in found) else []


def commits_of(record: Mapping[str, Any]) -> list[str]:
    """The commits of all sittings of a run, in order and short; `+` for one with changes that were not committed."""
    parts = [one for one in (sittings_of(record) or [record]) if one.get("git_commit")]
    return [*dict.fromkeys(f"{str(one['git_commit'])[:7]}{'+' * bool(one.get('git_dirty'))}" for one in parts)]


def processors_of(record: Mapping[str, Any]) -> list[str]:
    """What the sittings of a run were computed on, in order: the processor, or of older records the device."""
    found = [one.get("processor") or one.get("device") for one in (sittings_of(record) or [record])]
    return [*dict.fromkeys(str(one) for one in found if one)] or ["unknown"]


def fingerprints_of(record: Mapping[str, Any] | None) -> set[str]:
    """Of the titles of all sittings of a run: the same titles have another under another version of `tokenizers`."""
    found = [told(record, "data", "fingerprint"), *(told(one, "fingerprint") for one in sittings_of(record))]
    return {one for one in found if isinstance(one, str)}


def damage_of(directory: Path | str) -> str | None:
    """What is wrong with a run's `run.json`, in words that go on after the run's name; None where nothing is.

    What it lacks is no damage: a run that has just begun knows little of itself.
    """
    directory = Path(directory)
    if not (directory / "run.json").exists():
        return "it has no run.json yet"
    record = _read(directory)
    if record is None:
        return "its run.json cannot be read"
    if not isinstance(record, dict):
        return f"its run.json holds {_kind(record)}, no object"
    problem = _problem(record)
    return problem and f"its run.json has {problem}"


def _read(directory: Path) -> Any:
    """None for what is not there, no strict JSON, or JSON's null."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads((directory / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)
    except (OSError, ValueError, RecursionError):
        return None


def _problem(record: Mapping[str, Any]) -> str | None:
    """The first thing in a record that has another type than whoever reads it expects."""
    for names, expected, fits in (
        (MAPPINGS, "an object", lambda value: isinstance(value, dict)),
        (MAPPINGS_OR_NULL, "an object", lambda value: value is None or isinstance(value, dict)),
        (MAPPINGS_OF_NUMBERS, "an object", lambda value: value is None or isinstance(value, dict)),
        (TEXTS, "a text", lambda value: value is None or isinstance(value, str)),
        (NUMBERS, "a number", _is_number),
    ):
        for name in names.split():
            for value in _values(record, name):
                if not fits(value):
                    return f"{_kind(value)} as {name}, where {expected} belongs"
    for name in MAPPINGS_OF_NUMBERS.split():
        for metrics in _values(record, name):
            wrong = next((key for key, value in (metrics or {}).items() if not _is_number(value)), None)
            if wrong is not None:
                return f"{_kind(metrics[wrong])} as {name}.{wrong}, where a number belongs"
    return None


def _values(record: Mapping[str, Any], name: str) -> list[Any]:
    """What stands under a dotted name: one value, or none where it is not there."""
    *groups, last = name.split(".")
    node: Any = record
    for group in groups:
        node = node.get(group) if isinstance(node, dict) else None
    return [node[last]] if isinstance(node, dict) and last in node else []


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return value is None or (isinstance(value, int | float) and abs(value) <= LARGEST)


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "a text" if isinstance(value, str) else "a number" if abs(value) <= LARGEST else "a number beyond 1e100"
