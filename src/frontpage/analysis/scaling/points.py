"""Finished runs as points of a scaling law, read from their directories."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frontpage.command.errors import BadValue, UserError, local_path
from frontpage.command.notices import notice
from frontpage.runs.record import damage_of, read_record
from frontpage.runs.run import Run, find_runs

SIZES = {"non_embedding": "non_embedding_parameters", "all": "parameters"}
METRICS = ("val/nats_per_char", "val/loss")
EPOCHS = 4  # passes over the titles that are worth nearly as much as new ones (Muennighoff et al. 2023)


class Point(NamedTuple):
    """What a run was, and its validation loss at the end."""

    run: str
    parameters: int  # of the kind that was asked for
    tokens: int  # trained on, repetitions included
    flops: float  # of the training
    loss: float
    same: tuple[Any, ...]  # what runs that are compared must have in common: titles and tokenizer
    recipe: tuple[Any, ...]  # what they should have in common
    shape: tuple[int, int] | None = None  # width and layers, where the net has one width
    rate: float | None = None  # the peak learning rate
    seed: int | None = None

    @property
    def variables(self) -> tuple[float, float]:
        """N and D."""
        return float(self.parameters), float(self.tokens)


def read_points(paths: Sequence[str | Path], size: str = "non_embedding", metric: str = METRICS[0]) -> list[Point]:
    """The finished runs at `paths`: their directories, or folders that hold runs; each once, in order of size.

    Runs that are not finished are left out with a notice. `size` is a key of SIZES, `metric` one of METRICS. Raises
    UserError where a path holds no run, a record lacks a number, or runs saw other titles or another tokenizer.
    """
    points, unfinished = [], []
    for directory in dict.fromkeys(found for path in paths for found in find_runs(local_path(path, "run"))):
        record = read_record(directory)
        if not Run(directory).record_file.exists():
            unfinished.append(f"{directory} (just begun)")
        elif record is None:
            raise BadValue("run", directory, f"{damage_of(directory)}; leave it out")
        elif record.get("status") != "finished":
            unfinished.append(f"{directory} ({record.get('status')})")
        else:
            try:
                points.append(_point(directory, record, size, metric))
            except (KeyError, TypeError) as error:
                raise BadValue("run", directory, f"its run.json lacks what a fit needs ({error})") from error
    if unfinished:
        notice(f"left out, not finished: {' '.join(unfinished)}")
    return sorted(points, key=lambda point: (point.parameters, point.tokens))


def check_comparable(points: Sequence[Point]) -> None:
    """Raise a UserError that names a run which was validated on other titles, or with other tokens, than most."""
    if not points:
        raise UserError("run: no finished run was found; name directories of runs, or folders that hold some")
    common = Counter(point.same for point in points).most_common(1)[0][0]
    others = [point for point in points if point.same != common]
    if others:
        example = next(point.run for point in points if point.same == common)
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise BadValue(
            "run", f"{others[0].run}{more}", f"other titles or another tokenizer than {example}; leave it out"
        )
    if len({point.recipe for point in points}) > 1:
        kinds = sorted({" with ".join(map(str, point.recipe)) for point in points})
        notice(f"the runs differ in more than their sizes: {'; '.join(kinds)}")


def sizes_of(points: Sequence[Point]) -> np.ndarray:
    """(runs, 2): N and D."""
    return np.array([point.variables for point in points], dtype=float)


def _point(directory: Path, record: dict[str, Any], size: str, metric: str) -> Point:
    final, data = record["metrics"]["final"], record["data"]
    numbers = {
        SIZES[size]: record.get(SIZES[size]),
        "tokens_seen": record.get("tokens_seen"),
        "training_flops": record.get("training_flops"),
        metric: final.get(metric),
    }
    for name, value in numbers.items():
        if not value or value < 0:
            raise BadValue("run", directory, f"its run.json has {name} {value}: a number above 0 is needed")
    if final.get("val/coverage") != 1:
        raise BadValue("run", directory, f"val/coverage {final.get('val/coverage')}: not validated on the whole set")
    if numbers["tokens_seen"] > EPOCHS * data["train_tokens"]:
        passes = numbers["tokens_seen"] / data["train_tokens"]
        notice(f"{directory} saw its titles {passes:.1f} times; above {EPOCHS} a token seen again is worth less")
    config = record["config"]
    sizes = [config["model"].get(name) for name in ("d_model", "n_layer", "widths")]
    one_width = sizes[2] is None and None not in sizes[:2]
    own = {"shape": tuple(sizes[:2]) if one_width else None, "rate": config["optimizer"].get("lr")}
    architecture = record["config"]["model"]["_target_"].rsplit(".", 1)[-1]
    recipe = (architecture, record["attention"]["class"])
    return Point(
        str(directory), *numbers.values(), same=(data["fingerprint"],), recipe=recipe, **own, seed=config.get("seed")
    )
