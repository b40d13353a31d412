"""Promises of train.py as a process: signals, and several processes that train together."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from programs import record_of, weights_of
from tiny import ROOT, TINY, options


def start(tmp_path, *arguments):
    """train.py as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "train.py", f"paths.cache_dir={tmp_path}/cache", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "devices"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=10")),
    ],
    ids=["SIGINT", "SIGTERM to the first of two processes"],
)
def test_a_signal_leaves_a_checkpoint_from_which_the_run_ends_with_the_same_bits(tmp_path, number, devices):
    """Each process goes on with its own dropout; a signal to one stops them all behind the same update."""
    arguments = (*TINY, "model.dropout=0.2", "trainer.max_epochs=40", "log_interval=1", "val_interval=50", *devices)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start(tmp_path, *arguments, f"hydra.run.dir={broken}")
    while process.poll() is None and not (broken / "metrics.csv").exists():
        time.sleep(0.2)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 130, stderr
    record = record_of(broken)
    assert record["status"] == "interrupted"
    assert stdout.endswith(f"stopped by a signal at update {record['steps']}\ninterrupted\n")
    assert 0 < record["steps"] < 40 * 16
    for directory in (broken, whole):
        process = start(tmp_path, *arguments, f"hydra.run.dir={directory}", "ckpt_path=last")
        _, stderr = process.communicate(timeout=180)
        assert process.returncode == 0, stderr
    expected, got = weights_of(whole), weights_of(broken)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    saved = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["RandomState"]["processes"]
    assert len({state["cpu"].numpy().tobytes() for state in saved}) == (2 if devices else 1)


@pytest.fixture
def sigint():
    """Ctrl-C interrupts, also where the tests run in the background; put back, since Lightning leaves none behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "signals", "callbacks", "number"),
    [
        ("on_fit_start", 1, "default", signal.SIGINT),
        ("on_after_backward", 2, "default", signal.SIGINT),
        ("on_after_backward", 1, "none", signal.SIGINT),
        ("on_after_backward", 1, "none", signal.SIGTERM),
        ("on_after_backward", 2, "default", signal.SIGHUP),
        ("on_fit_end", 1, "default", signal.SIGINT),
    ],
)
def test_ctrl_c_that_waits_for_no_step_ends_with_130(
    command, run_directories, monkeypatch, sigint, moment, signals, callbacks, number
):
    """Before the first step, twice within one, without the callback that waits, and behind the last step."""
    from frontpage.recipe.language_module import LanguageModule

    def interrupt(self):
        for _ in range(signals):
            signal.raise_signal(number)

    monkeypatch.setattr(LanguageModule, moment, interrupt)
    tiny = [override for override in TINY if not override.startswith("callbacks.")]
    outcome = command(*tiny, f"callbacks={callbacks}", "trainer.max_steps=2")
    assert (outcome.status, outcome.stderr) == (130, "") and outcome.stdout.endswith("interrupted\n")
    (directory,) = run_directories()
    assert record_of(directory)["status"] == "interrupted"
    saved = (directory / "checkpoints" / "last.ckpt").exists()
    assert saved == (moment == "on_fit_end"), "weights from within an update are not saved"


@pytest.mark.slow
def test_a_second_ctrl_c_stops_a_process_within_its_step(tmp_path):
    large = ("model.d_model=384", "model.n_layer=8", "data.batch_size=64", "data.num_titles=1000", "log_interval=1")
    process = start(tmp_path, *TINY, *large, f"hydra.run.dir={tmp_path}/run")
    events = tmp_path / "run" / "events.jsonl"
    while process.poll() is None and not (events.exists() and "training_step" in events.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told = []
    while not told or told[-1] and not told[-1].startswith("stopping after this step"):
        told.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=180)
    assert (process.returncode, stderr) == (130, ""), stdout
    record = record_of(tmp_path / "run")
    assert record["status"] == "interrupted" and record["reason"].startswith("KeyboardInterrupt")


@pytest.mark.slow
def test_two_processes_report_the_number_that_one_reports(tmp_path):
    """Guard 3 across processes: DDP on the CPU, with the weights of the same run."""
    one, two = tmp_path / "one", tmp_path / "two"
    common = (*TINY, "optimizer.lr=0.0", "trainer.max_steps=1", "data.evaluation_tokens=100")
    for directory, devices in ((one, ()), (two, ("trainer.devices=2", "trainer.strategy=ddp"))):
        process = start(tmp_path, *common, *devices, f"hydra.run.dir={directory}")
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stdout + stderr
    expected, got = (record_of(directory)["metrics"]["final"] for directory in (one, two))
    for name in sorted(expected):
        if name.startswith("val/"):
            assert got[name] == pytest.approx(expected[name], rel=1e-6), name
    assert got["val/coverage"] == 1


@pytest.mark.slow
def test_two_processes_train_a_net_with_every_addition(tmp_path):
    """No weight goes without a gradient, which would be an error of DDP's."""
    added = (f"model/addition=[{','.join(options('model/addition'))}]", "model.n_layer=3", "model.tie_embeddings=false")
    added += ("model.positions=rotary", "model.rotary_share=0.5")
    devices = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_steps=6")
    process = start(tmp_path, *TINY, *added, *devices, f"hydra.run.dir={tmp_path}/run")
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stdout + stderr
    assert record_of(tmp_path / "run")["steps"] == 6
