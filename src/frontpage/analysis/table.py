"""Runs as a table: one dict a run, flat, so that it can be sorted, filtered, written as CSV or given to pandas."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue, UserError, local_path, nearest
from frontpage.command.notices import notice
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.metrics import HEADLINE
from frontpage.runs.record import commits_of, damage_of, headline_of, read_record
from frontpage.runs.run import find_runs

Row = dict[str, Any]
# What stands first in a table; a column that no run fills is left out.
COLUMNS = (
    f"run status {HEADLINE.name} {HEADLINE.error} val/bits_per_byte val/loss train/loss val/mainrun_loss"
    " val/mainrun_coverage parameters steps tokens_seen seconds tokens_per_second peak_memory_bytes commit"
).split()
FACTS = (
    "status reason command device precision parameters non_embedding_parameters steps tokens_seen seconds"
    " tokens_per_second training_flops model_flops_utilization peak_memory_bytes estimated_memory_bytes"
    " micro_batch validated_weights headline headline_better headline_error headline_unit"
).split()
DATA = "source fingerprint train_titles validation_titles train_tokens validation_tokens validation_characters".split()
# Said again elsewhere in the config, or true of every run's own folder.
REPEATED = re.compile(
    r"(ckpt_path|data\.tokenizer|model\.(optimizer|scheduler)|paths|logger)(\.|$)|.*\.(path|dirpath|directory|cache_dir|default_root_dir)$"
)
TASK = re.compile("val/[^/]+/accuracy")  # of a task beside the headline's
# Folders that say nothing by themselves: those that Hydra names by the time, and trials, which are counted.
NAMELESS = re.compile(r"\d{4}-\d\d-\d\d_|\d+$")


def collect_runs(*paths: str | Path) -> list[Row]:
    """The runs at `paths`, which are directories of runs or folders that hold some; each once, in order of their paths.

    A row holds `run` (the shortest end of its path that no other run has), `directory`, `name`, the record's own names
    (`status seconds parameters ...`), its headline (see `headline_of_row`), `commit`, `data.*`, the final metrics by
    their names (`val/nats_per_char`), the best by theirs behind `best/`, what guessing scores behind `chance/`, and
    the config by its dotted keys, an object by its class (`model.attention: LocalAttention`). A record that is damaged
    or not written yet is a row with status `damaged` and the `reason`, and is named in a notice. Raises UserError for a
    path without runs.
    """
    directories = list(dict.fromkeys(found for path in paths for found in find_runs(local_path(path, "run"))))
    rows = [_row(directory) for directory in directories]
    for row, label in zip(rows, _labels(directories), strict=True):
        row["run"] = label
    damaged = [row for row in rows if row["status"] == "damaged"]
    for row in damaged:
        notice(f"{row['directory']}: {row['reason']}; only this is known of the run")
    return rows


def _row(directory: Path) -> Row:
    record = read_record(directory)
    damage = _damage(directory, record)
    row: Row = {"run": "", "name": directory.parent.name, "directory": str(directory), "status": "damaged"}
    if record is None or damage:
        return row | {"reason": damage}
    config, data = record["config"], record.get("data") or {}
    row |= {"name": config["name"]} | {name: record.get(name) for name in FACTS}
    headline = headline_of(record)
    row |= {"headline": headline.name, "headline_better": headline.better}
    row |= {"headline_error": headline.error, "headline_unit": headline.unit}
    row["commit"] = " ".join(commits_of(record)) or None
    row |= {f"data.{name}": data.get(name) for name in DATA}
    row |= {f"attention.{name}": value for name, value in (record.get("attention") or {}).items()}
    metrics = record["metrics"]
    row |= metrics.get("final") or {}
    row |= {f"best/{name.removeprefix('val/')}": value for name, value in (metrics.get("best") or {}).items()}
    row |= {chance_of(name): value for name, value in (metrics.get("chance") or {}).items()}
    row |= (record.get("test") or {}).get("metrics") or {}
    flat = flatten(config)
    kept = {key: value for key, value in flat.items() if key == "data.path" or not REPEATED.match(key)}
    # No key of a config takes the place of what the record says.
    return row | {key: value for key, value in kept.items() if key not in row and "/" not in key}


def chance_of(metric: str) -> str:
    """The name under which a row holds what guessing scores in a metric."""
    return f"chance/{metric.removeprefix('val/')}"


def headline_of_row(row: Row) -> Metric | None:
    """The metric that says how good a run is; None of a damaged one."""
    if row.get("headline") is None:
        return None
    return Metric(*(row.get(name) for name in ("headline", "headline_better", "headline_error", "headline_unit")))


def headlines(rows: Iterable[Row]) -> list[Metric]:
    """The headlines of the runs that have measured theirs, in order of appearance; runs of one can be compared."""
    found = [(row, headline_of_row(row)) for row in rows]
    return list(dict.fromkeys(one for row, one in found if one is not None and _known(row.get(one.name))))


def rows_of(rows: Iterable[Row], headline: Metric) -> list[Row]:
    """The runs of a headline that have measured it."""
    return [row for row in rows if headline_of_row(row) == headline and _known(row.get(headline.name))]


def ranked(rows: Sequence[Row], worst_first: bool = False) -> list[Row]:
    """The best first, the runs of each headline together; those that have measured nothing stay last."""
    found = []
    for headline in headlines(rows):
        found += sort_rows(rows_of(rows, headline), headline.name, (headline.better == HIGHER) != worst_first)
    known = {row["directory"] for row in found}
    return found + [row for row in rows if row["directory"] not in known]


def _damage(directory: Path, record: Any) -> str | None:
    """What keeps a record from being a row; None where nothing does."""
    if record is None:
        return damage_of(directory)
    missing = [name for name in ("status", "config", "metrics") if not record.get(name)]
    missing += [] if "config" in missing or "name" in record["config"] else ["config.name"]
    return f"its run.json has no {' '.join(missing)}" if missing else None


def flatten(config: Mapping[str, Any], prefix: str = "") -> Row:
    """A config by dotted keys; an object is its class's name under its own key, a list one value."""
    flat: Row = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if key == "_target_":
            flat[prefix.rstrip(".")] = str(value).rsplit(".", 1)[-1]
        elif str(key).startswith("_"):
            continue
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _labels(directories: Sequence[Path]) -> list[str]:
    """For each path the fewest of its last parts that tell it from the others; a time or number tells nothing."""
    labels = []
    for one in directories:
        depth = 2 if NAMELESS.match(one.name) else 1
        while depth < len(one.parts) and sum(one.parts[-depth:] == other.parts[-depth:] for other in directories) > 1:
            depth += 1
        labels.append("/".join(one.parts[-depth:]))
    return labels


def config_keys(rows: Iterable[Row]) -> list[str]:
    """The columns that come from configs, in order of appearance."""
    others = {"run", "directory", "commit", *FACTS, *(f"data.{name}" for name in DATA)}
    found = dict.fromkeys(key for row in rows for key in row)
    return [key for key in found if key not in others and "/" not in key and not key.startswith("attention.")]


def differing(rows: Sequence[Row], keys: Iterable[str]) -> list[str]:
    """Those of `keys` that do not have one value in all rows; damaged rows do not count."""
    known = [row for row in rows if row["status"] != "damaged"]
    return [key for key in keys if len({repr(row.get(key)) for row in known}) > 1]


def sort_rows(rows: Sequence[Row], column: str, descending: bool = False) -> list[Row]:
    """By a column, lowest first; rows without a value stay last. Raises UserError for a column that no row has."""
    check_columns(rows, [column], "--sort")
    known = [row for row in rows if _known(row.get(column))]
    numbers = all(isinstance(row[column], int | float) for row in known)
    ordered = sorted(known, key=lambda row: row[column] if numbers else str(row[column]), reverse=descending)
    return ordered + [row for row in rows if not _known(row.get(column))]


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def filter_rows(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """The rows that fulfil every `key=value`, values spelled as on the command line; UserError for a mistake."""
    for condition in conditions:
        key, equals, wanted = condition.partition("=")
        if not equals:
            raise BadValue("--where", condition, "key=value, e.g. optimizer=AdamW or model.n_layer=6")
        check_columns(rows, [key], "--where")
        rows = [row for row in rows if same_value(row.get(key), wanted)]
    return list(rows)


def same_value(value: Any, wanted: str) -> bool:
    """Whether a value is what the command line spells `wanted`: 5e-3 is 0.005, null is None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(wanted) == value
        except ValueError:
            return False
    return spelled(value) == wanted


def check_columns(rows: Sequence[Row], columns: Iterable[str], option: str) -> None:
    """Raise a UserError that names a column which no row has, and the nearest that there is."""
    known = {key for row in rows for key in row}
    for column in columns:
        if column not in known:
            raise BadValue(option, column, f"no run has such a value{nearest(column, known)}")


def default_columns(rows: Sequence[Row]) -> list[str]:
    """The usual columns as far as runs fill them, and behind them the config keys that every run has and that differ.

    Those that name a class (`model`, `tokenizer`) stand before numbers. A key that says the same as an earlier one of
    its name is left out (`trainer.val_interval` beside `val_interval`).
    """
    leading = [name for one in headlines(rows) for name in (one.name, one.error) if name]
    tasks = sorted({name for row in rows for name in row if TASK.fullmatch(name)})
    usual = dict.fromkeys([*COLUMNS[:2], *leading, *tasks, *COLUMNS[2:]])
    filled = [name for name in usual if any(row.get(name) is not None for row in rows)]
    known = [row for row in rows if row["status"] != "damaged"]
    found, told = [], set()
    for key in differing(rows, config_keys(rows)):
        said = repr((key.rsplit(".", 1)[-1], [row.get(key) for row in known]))
        if key != "name" and said not in told and all(key in row for row in known):
            found.append(key)
        told.add(said)
    options = [key for key in found if any(other.startswith(f"{key}.") for row in known for other in row)]
    return filled + options + [key for key in found if key not in options]


def fitting(columns: Sequence[str], widths: Sequence[int], room: int) -> list[str]:
    """Those columns, in their order, that fit beside each other into `room` letters, two blanks between them.

    What a run is and its headline come first, then the config, which stands last in the table, then all else.
    """
    first = [name for name in columns if name in COLUMNS[:4]]
    first += [name for name in columns if name not in COLUMNS]
    first += [name for name in columns if name in COLUMNS[4:]]
    size, chosen = dict(zip(columns, widths, strict=True)), set()
    room += 2  # nothing stands behind the last one
    for name in first:
        if size[name] + 2 <= room:
            chosen.add(name)
            room -= size[name] + 2
    return [name for name in columns if name in chosen]


def spelled(value: Any) -> str:
    """A config value as the command line spells it, any number without loss."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(spelled, value))}]" if isinstance(value, list) else str(value)


def shown(column: str, value: Any) -> str:
    """What a cell shows: nothing for None, sizes in GiB, losses with four decimals, counts with separators."""
    if value is None:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number:
        return spelled(value)
    if column.endswith("_bytes"):
        return f"{value / 2**30:.2f} GiB"
    if isinstance(value, float) and ("/" in column or column == "model_flops_utilization"):
        return f"{value:.4f}"
    if column in ("seconds", "tokens_per_second", "training_flops"):
        return f"{value:,.0f}" if value < 1e12 else f"{value:.3g}"
    if isinstance(value, int) and column in (*FACTS, *(f"data.{name}" for name in DATA)):
        return f"{value:,}"
    return spelled(value)


def need_rows(rows: Sequence[Row], what: str) -> None:
    """Raise a UserError where nothing is left to show."""
    if not rows:
        raise UserError(f"{what}: no run is left; --where takes only the runs that fulfil every condition")
