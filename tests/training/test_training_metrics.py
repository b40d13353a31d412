"""Promises of the logged curves: their names, what they are, and that only logging steps wait for the device."""

import csv
import json
import math
import subprocess
import sys
import time

import pytest
import torch
from tiny import TINY
from torch.utils._python_dispatch import TorchDispatchMode

from frontpage.command.endings import Interrupted

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


@pytest.mark.slow
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


EVERYTHING = ("callbacks=[noise_scale,procrustes]", "trainer.accumulate_grad_batches=2", "callbacks.procrustes.every=3")
MEASURES = ("train/loss", "val/loss", "noise_scale/batch_tokens", "monitors/procrustes/", "test/nats_per_char")


def timed(rows):
    """The seconds of each row, which must be numbers that never fall."""
    seconds = [float(row["time/elapsed_seconds"]) for row in rows]
    assert seconds == sorted(seconds) and seconds[0] >= 0
    return seconds


def table(directory):
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_row_that_anything_logs_has_the_seconds(command, run_directories, tmp_path):
    (tmp_path / "test.txt").write_text("Show HN: a title\nAsk HN: another?\n")
    scored = (f"data.test_path={tmp_path}/test.txt", "test=true")
    words = ("trainer.max_steps=6", "val_interval=3", "log_interval=2", "callbacks.procrustes.texts=8")
    outcome = command(*TINY, *EVERYTHING, *words, *scored)
    assert outcome.status == 0, outcome.stderr
    (directory,) = run_directories()
    rows = table(directory)
    timed(rows)
    for name in MEASURES:
        assert [row for row in rows if any(key.startswith(name) and value for key, value in row.items())], name
    record = json.loads((directory / "run.json").read_text())
    seconds = [float(row["time/elapsed_seconds"]) for row in rows if row["val/loss"]]
    assert len(seconds) == 2 and seconds[0] < seconds[1] <= record["seconds"]
    assert not {"time/elapsed_seconds"} & {*record["metrics"]["best"]}


@pytest.mark.slow
def test_the_seconds_of_a_resumed_run_go_on_from_its_checkpoint(command, tmp_path, monkeypatch):
    from frontpage.training.callbacks.run_clock import RunClock
    from frontpage.training.callbacks.stop_on_signal import StopOnSignal

    def stop(self, trainer):
        if trainer.global_step == 6:
            next(one for one in trainer.callbacks if isinstance(one, RunClock)).elapsed_before += 1000.0
            raise Interrupted("stopped")

    arguments = (*TINY, "trainer.max_steps=12", "log_interval=2", "val_interval=4", f"hydra.run.dir={tmp_path}/run")
    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "_stop_if_asked", stop)
        assert command(*arguments).status == 130
    assert command(*arguments, "ckpt_path=last").status == 0
    rows = table(tmp_path / "run")
    seconds = timed(rows)
    first = next(place for place, row in enumerate(rows) if int(row["step"]) >= 6)
    assert seconds[first - 1] < 1000.0 < seconds[first]


@pytest.mark.slow
def test_trackers_get_the_seconds_in_the_same_row(command, monkeypatch):
    wandb = pytest.importorskip("wandb")
    rows, log = [], wandb.sdk.wandb_run.Run.log
    monkeypatch.setattr(
        wandb.sdk.wandb_run.Run,
        "log",
        lambda self, data, *more, **others: rows.append(data) or log(self, data, *more, **others),
    )
    assert command(*TINY, "trainer.max_steps=3", "log_interval=1", "logger=wandb").status == 0
    timed(rows)
    assert [row for row in rows if "val/loss" in row] and len([row for row in rows if "train/loss" in row]) == 3


@pytest.mark.slow
def test_every_row_of_two_processes_has_the_seconds(tmp_path):
    from tiny import ROOT

    words = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "trainer.max_steps=4")
    more = ("val_interval=2", "log_interval=1", f"hydra.run.dir={tmp_path}/run")
    process = subprocess.run(
        [sys.executable, "train.py", *TINY, *words, *more], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    rows = table(tmp_path / "run")
    timed(rows)
    assert len([row for row in rows if row["val/loss"]]) == 2


def test_the_share_of_what_devices_could_do_is_over_all_sessions_and_their_devices():
    from frontpage.training.callbacks.run_clock import RunClock

    before = {"tokens_seen": 10, "training_flops": 100.0, "elapsed_seconds": 5.0, "training_seconds": 4.0}
    clock = RunClock()
    clock.load_state_dict(before | {"possible_flops": 400.0})
    clock.matmul_peak_flops, clock._devices = 1e6, 8
    assert clock.model_flops_utilization == 0.25 and clock.state_dict()["possible_flops"] == 400.0


@pytest.mark.slow
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
