"""Runs in one process and in several: the curves and metrics that they must have in common, and their processes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from programs import record_of

CURVE = ("train/loss", "train/grad_norm", "train/weight_norm")
BY_BATCH = "val/mainrun"  # the original's number, which counts spans of data.batch_size rows


def curve_of(directory):
    with (directory / "metrics.csv").open() as file:
        return np.array([[float(row[name]) for name in CURVE] for row in csv.DictReader(file) if row["train/loss"]])


def measured(directory):
    final = record_of(directory)["metrics"]["final"]
    return {name: value for name, value in final.items() if name.startswith("val/") and BY_BATCH not in name}


def check_numbers_alike(one, other):
    """The curve of a run within a relative 1e-4 of another's, its metrics within 1e-6, and every title measured."""
    assert curve_of(other) == pytest.approx(curve_of(one), rel=1e-4)
    assert measured(other) == pytest.approx(measured(one), rel=1e-6, abs=1e-6)
    assert measured(other)["val/coverage"] == 1


def children_of(pid):
    """The processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
