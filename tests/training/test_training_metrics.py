"""Promises of the logged curves: their names, what they are, and that only logging steps wait for the device."""

import csv
import json
import math
import time

import pytest
import torch
from tiny import TINY
from torch.utils._python_dispatch import TorchDispatchMode

CURVES = {
    "epoch",
    "train/loss",
    "train/perplexity",
    "train/learning_rate",
    "train/learning_rate/matrices",
    "train/learning_rate/others",
    "train/grad_norm",
    "train/weight_norm",
    "train/weight_norm/matrices",
    "train/weight_norm/others",
    "time/elapsed_seconds",
    "time/tokens_per_second",
    "time/model_flops_utilization",
    "memory/current_bytes",
    "memory/peak_bytes",
}


def test_every_logging_step_has_every_curve(command, run_directories):
    assert command(*TINY, "log_interval=3", "scheduler=constant", "optimizer.lr=0.00305").status == 0
    (directory,) = run_directories()
    with (directory / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(rows) >= 5
    for row in rows:
        values = {name: float(row[name]) for name in CURVES}
        rates = {values[name] for name in CURVES if name.startswith("train/learning_rate")}
        assert rates == {0.00305}
        assert values["train/perplexity"] == pytest.approx(math.exp(values["train/loss"]), rel=1e-5)
        parts = (values["train/weight_norm/matrices"], values["train/weight_norm/others"])
        assert math.hypot(*parts) == pytest.approx(values["train/weight_norm"], rel=1e-5)
        assert 0 <= values["memory/current_bytes"] <= values["memory/peak_bytes"]
        assert 0 < values["time/model_flops_utilization"] < 1
    record = json.loads((directory / "run.json").read_text())
    rate, spent = record["tokens_per_second"], record["training_flops"] / record["tokens_seen"]
    assert record["model_flops_utilization"] == pytest.approx(rate * spent / record["matmul_peak_flops"], rel=1e-3)


def test_between_logging_steps_nothing_waits_for_the_device(command, monkeypatch):
    """Reading a number from a tensor is what waits. The guard against NaN reads every loss, but on the CPU only."""
    from frontpage.training.callbacks.random_state import RandomState
    from frontpage.training.callbacks.run_clock import RunClock

    reads, at = [], []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, kinds, arguments=(), keywords=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                reads.append(at[-1])
            return function(*arguments, **(keywords or {}))

    mode = Reads()

    def begin(self, trainer, pl_module, *others):
        at.append(trainer.global_step + 1)
        mode.__enter__()

    ended = RunClock.on_train_batch_end

    def close(self, trainer, pl_module, *others):  # the last callback but the checkpoints
        mode.__exit__(None, None, None)

    monkeypatch.setattr(RunClock, "on_train_batch_start", begin)
    monkeypatch.setattr(RandomState, "on_train_batch_end", close)
    assert RunClock.on_train_batch_end is ended
    outcome = command(
        *TINY, "log_interval=5", "trainer.max_steps=12", "val_interval=12", "callbacks.stop_on_divergence=null"
    )
    assert outcome.status == 0
    assert at == list(range(1, 13))
    assert {*reads} == {5, 10}


def test_what_is_done_in_a_pause_is_left_out_of_the_rate_and_not_of_the_time():
    from frontpage.training.callbacks.run_clock import RunClock

    clock = RunClock()
    clock.on_train_start(None, None)
    with pytest.raises(RuntimeError), clock.paused():
        time.sleep(0.2)
        raise RuntimeError
    assert clock.elapsed_seconds >= 0.2 > clock.training_seconds
    time.sleep(0.01)
    assert clock.training_seconds >= 0.01  # it goes on
