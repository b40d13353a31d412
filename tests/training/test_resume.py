"""Promises of resuming: a run that broke off anywhere ends as if it had not, in weights and in what it reports."""

import json
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from programs import record_of
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at
from tiny import ROOT, TINY
from torch import nn

from frontpage.analysis.disasters.kills import compare
from frontpage.command.endings import Interrupted
from frontpage.runs.reopen import load_run
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.loggers.metrics_file import MetricsFile

RUN = (
    *TINY,
    "model.dropout=0.2",
    "trainer.accumulate_grad_batches=2",
    "trainer.max_epochs=3",
    "log_interval=1",
    "val_interval=4",
)
ADDED = ("model/addition=[recurrence,stochastic_depth]", "model.n_layer=3", "save_interval=3")
MEASURED = ("time/", "memory/", "elapsed_time", "timestamp")


def steps_told(directory):
    """What the events say of each step, without what a clock measures."""
    told = (event for event in events_of(directory) if "step" in event)
    return [{name: value for name, value in event.items() if not name.startswith(MEASURED)} for event in told]


def assert_the_same_run(one, other):
    for name in ("last", "best"):
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            assert same(checkpoint_of(one, name)[part], checkpoint_of(other, name)[part]), (name, part)
    assert losses_of(one) == losses_of(other)
    assert steps_told(one) == steps_told(other)
    assert (one / "samples.txt").read_text() == (other / "samples.txt").read_text()
    first, second = (record_of(run) for run in (one, other))
    assert first["metrics"]["best"] == second["metrics"]["best"]
    assert first["tokens_seen"] == second["tokens_seen"] and second["status"] == "finished"
    for name, value in first["metrics"]["final"].items():
        assert name.startswith(MEASURED) or second["metrics"]["final"][name] == value, name


@pytest.fixture(scope="module")
def wholes():
    """Runs that nothing interrupts, by their overrides."""
    return {}


@pytest.fixture
def whole(command, tmp_path_factory, wholes):
    """whole(...) is the directory of the uninterrupted run."""

    def made(*overrides):
        if overrides not in wholes:
            directory = tmp_path_factory.mktemp("whole") / "run"
            assert command(*RUN, *overrides, f"hydra.run.dir={directory}").status == 0
            wholes[overrides] = directory
        return wholes[overrides]

    return made


# 17 batches an epoch are 9 updates, the last of them of one batch; validations at 4, 8, ... and at the end, 27.
@pytest.mark.parametrize(
    ("step", "validating", "error", "overrides"),
    [
        (5, False, Interrupted("stopped"), ("save_interval=3",)),
        pytest.param(9, False, Interrupted("stopped"), ("save_interval=3",), marks=pytest.mark.slow),
        (8, True, Interrupted("stopped"), ("save_interval=3",)),
        pytest.param(27, True, Interrupted("stopped"), (), marks=pytest.mark.slow),
        (7, False, RuntimeError("crash"), ("save_interval=3",)),
        pytest.param(9, False, RuntimeError("crash"), ("save_interval=3",), marks=pytest.mark.slow),
        pytest.param(11, False, RuntimeError("crash"), (), marks=pytest.mark.slow),
        pytest.param(2, False, RuntimeError("crash"), (), marks=pytest.mark.slow),  # before the first checkpoint
        (12, True, RuntimeError("crash"), ("callbacks=ema",)),
        pytest.param(12, True, Interrupted("stopped"), ("callbacks=ema",), marks=pytest.mark.slow),
        pytest.param(18, False, Interrupted("stopped"), ("callbacks=ema", "save_interval=3"), marks=pytest.mark.slow),
        # The second round begins with update 19, or behind what is repeated after a crash.
        pytest.param(18, False, Interrupted("stopped"), ADDED, marks=pytest.mark.slow),
        pytest.param(20, False, RuntimeError("crash"), (*ADDED, "callbacks=ema"), marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.slow
def test_a_run_that_broke_off_ends_and_reports_as_if_it_had_not(
    command, tmp_path, monkeypatch, whole, step, validating, error, overrides
):
    expected, broken = whole(*overrides), tmp_path / "broken"
    with monkeypatch.context() as patch:
        stop_at(patch, step, validating, error)
        if isinstance(error, Interrupted):
            assert command(*RUN, *overrides, f"hydra.run.dir={broken}").status == 130
        else:
            with pytest.raises(RuntimeError, match="crash"):
                command(*RUN, *overrides, f"hydra.run.dir={broken}")
    outcome = command(*RUN, *overrides, f"hydra.run.dir={broken}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert_the_same_run(expected, broken)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last", "last-1", "best"])
def test_every_checkpoint_of_a_run_can_be_continued(command, tmp_path, whole, name):
    """As if all newer files had been torn: the run goes on behind the update of that one."""
    expected, copy = whole("save_interval=3"), tmp_path / "copy"
    shutil.copytree(expected, copy)
    for path in (copy / "checkpoints").glob("*.ckpt"):
        if path.stem != name:
            path.unlink()
    (copy / "run.json").write_text('{"status": "running"}')
    assert command(*RUN, "save_interval=3", f"hydra.run.dir={copy}", "ckpt_path=last").status == 0
    if name != "last":  # that one has no validation left, and best.ckpt, which would be the same, was taken away
        assert_the_same_run(expected, copy)
    assert record_of(copy)["metrics"]["final"]["val/loss"] == record_of(expected)["metrics"]["final"]["val/loss"]


@pytest.mark.slow
def test_a_checkpoint_is_never_written_within_an_accumulation(command, tmp_path, monkeypatch):
    from frontpage.runs.checkpoint_file import CheckpointFile

    seen, save = [], CheckpointFile.save_checkpoint

    def note(self, checkpoint, *arguments, **options):
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        seen.append((progress["ready"], progress["completed"]))
        save(self, checkpoint, *arguments, **options)

    monkeypatch.setattr(CheckpointFile, "save_checkpoint", note)
    assert command(*RUN, "save_interval=1", "trainer.max_steps=11").status == 0
    assert len(seen) >= 11
    assert all(ready == completed and (ready % 2 == 0 or ready == 17) for ready, completed in seen), seen


def test_events_of_updates_that_come_again_are_forgotten(tmp_path):
    file = tmp_path / "events.jsonl"
    lines = ['{"event": "model_info", "text": "a\u2028b"}', '{"step": 2}', '{"step": 3}', '{"step": 1, "cut']
    file.write_text("\n".join(lines), encoding="utf-8")
    EventLog(file, {}).rewind(2)
    assert file.read_text(encoding="utf-8") == "\n".join([*lines[:2], ""])


def test_a_line_that_a_kill_cut_off_is_forgotten(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,train/loss\n0,2.5\n1,2.25\n2,2.125\n3,2")
    writer = MetricsFile(tmp_path)
    writer.rewind(2)
    assert file.read_text().split() == ["step,train/loss", "0,2.5", "1,2.25"]
    writer.log_metrics({"train/loss": 2.0, "val/loss": 1.0}, step=2)
    writer.save()
    assert file.read_text().split() == ["step,train/loss,val/loss", "0,2.5,", "1,2.25,", "2,2.0,1.0"]


DAMAGED_EVENTS = {
    "an event of no update": b'{"event": "training_step"}',
    "a list within a list, and so on": b"[" * 100_000,
    "a number": b"5",
    "no text": b"\xff\xfe",
    "an update that is a text": b'{"event": "training_step", "step": "x"}',
}
DAMAGED_STEPS = {"no digit": "²", "5,000 digits": "9" * 5000, "200,000 characters": "x" * 200_000}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DAMAGED_EVENTS, *DAMAGED_STEPS])
def test_damaged_lines_are_left_out_and_the_run_goes_on(command, tmp_path, kind):
    words = [*TINY, "log_interval=1", f"hydra.run.dir={tmp_path}/run"]
    assert command(*words, "trainer.max_steps=2").status == 0
    if kind in DAMAGED_EVENTS:
        with (tmp_path / "run" / "events.jsonl").open("ab") as file:
            file.write(DAMAGED_EVENTS[kind] + b"\n")
    else:
        file = tmp_path / "run" / "metrics.csv"
        columns = file.read_text().split("\n")[0].split(",")
        row = ",".join(DAMAGED_STEPS[kind] if column == "step" else "1" for column in columns)
        file.write_text(f"{file.read_text()}{row}\n")
    outcome = command(*words, "trainer.max_steps=4", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert "lacks" not in outcome.stdout
    steps = [event["step"] for event in events_of(tmp_path / "run") if event["event"] == "training_step"]
    assert steps == [1, 2, 3, 4]
    assert [int(step) for step, trained, _ in losses_of(tmp_path / "run") if trained] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"x" * 200_000, b"a,b", "²".encode()])
def test_metrics_under_a_damaged_first_line_are_a_gap_that_is_told(command, tmp_path, first):
    words = [*TINY, "log_interval=1", f"hydra.run.dir={tmp_path}/run"]
    assert command(*words, "trainer.max_steps=2").status == 0
    file = tmp_path / "run" / "metrics.csv"
    file.write_bytes(first + b"\n" + file.read_bytes().split(b"\n", 1)[1])
    outcome = command(*words, "trainer.max_steps=4", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert "metrics.csv lacks 2 of 2 logged training steps (updates 1 to 2)" in outcome.stdout
    assert [int(step) for step, trained, _ in losses_of(tmp_path / "run") if trained] == [2, 3]


@pytest.mark.slow
def test_averaged_weights_are_the_closed_form_and_training_does_not_notice(command, tmp_path, monkeypatch, whole):
    """average after n updates = d^(n-1) w_1 + (1-d) sum of d^(n-k) w_k, k from 2."""
    from frontpage.training.callbacks.log_metrics import LogMetrics

    taken, steps = {}, 8

    def take(self, trainer, pl_module, *unused):
        taken[trainer.global_step] = {name: w.detach().double().clone() for name, w in pl_module.named_parameters()}

    monkeypatch.setattr(LogMetrics, "on_train_batch_end", take)
    settings = (*RUN, f"trainer.max_steps={steps}", "callbacks=ema", "callbacks.ema.decay=0.7")
    assert command(*settings, f"hydra.run.dir={tmp_path}/run").status == 0
    decay, saved = 0.7, checkpoint_of(tmp_path / "run")
    _, module = load_run(tmp_path / "run", "last")
    loaded = dict(module.named_parameters())
    for name in taken[1]:
        expected = decay ** (steps - 1) * taken[1][name]
        for k in range(2, steps + 1):
            expected += (1 - decay) * decay ** (steps - k) * taken[k][name]
        torch.testing.assert_close(loaded[name].double(), expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(saved["current_model_state"][name].double(), taken[steps][name])
    plain = (*RUN, f"trainer.max_steps={steps}")
    assert command(*plain, f"hydra.run.dir={tmp_path}/plain").status == 0
    assert same(saved["current_model_state"], checkpoint_of(tmp_path / "plain")["state_dict"])
    assert record_of(tmp_path / "run")["validated_weights"] == "exponential moving average, decay 0.7"


@pytest.mark.slow
def test_validation_and_load_run_use_the_averaged_weights(command, whole):
    from frontpage.command.build import build

    directory = whole("callbacks=ema")
    config, module = load_run(directory)
    saved = checkpoint_of(directory, "best")
    assert same(dict(module.state_dict()), saved["state_dict"])
    assert not same(saved["state_dict"], saved["current_model_state"])
    data = build(config.data, "data")
    data.setup()
    nats = []
    best = record_of(directory)["metrics"]["best"]["val/loss"]
    for weights in (saved["state_dict"], saved["current_model_state"]):
        module.load_state_dict(weights)
        losses = [module.score(rows)[0] for rows in data.val_dataloader()]
        nats.append(float(torch.cat(losses).mean()))
    assert nats[0] == pytest.approx(best, rel=1e-6) and nats[1] != pytest.approx(best, rel=1e-4)


EARLY = ("callbacks=early_stopping", "callbacks.early_stopping.min_delta=10.0", "callbacks.early_stopping.patience=2")


@pytest.mark.slow
def test_early_stopping_ends_the_run_as_finished_with_the_reason(whole):
    """The first validation is the best by definition, the next two are not better by 10 nats."""
    record = record_of(whole(*EARLY))
    assert (record["status"], record["steps"]) == ("finished", 12)
    assert record["reason"] == "early stopping at update 12 of 27: val/nats_per_char got no better in 2 validations"
    assert checkpoint_of(whole(*EARLY))["global_step"] == 12


@pytest.mark.slow
def test_the_last_validation_of_a_run_that_stopped_early_is_complete(whole):
    """With the metrics that only the end of a run computes, wherever they are told; those before have not."""
    end = {"val/mainrun_loss", "val/mainrun_coverage", "val/packed_nats_per_char"}
    validations = [event for event in events_of(whole(*EARLY)) if event["event"] == "validation_step"]
    assert [(event["step"], end & event.keys()) for event in validations] == [(4, set()), (8, set()), (12, end)]
    final = record_of(whole(*EARLY))["metrics"]["final"]
    assert end <= final.keys() and final["val/mainrun_loss"] == validations[-1]["val/mainrun_loss"]


@pytest.mark.parametrize("step", [pytest.param(10, marks=pytest.mark.slow), 12])
def test_a_resumed_run_stops_early_where_the_uninterrupted_one_does(command, tmp_path, monkeypatch, whole, step):
    """Also behind the checkpoint of the stop itself."""
    expected, broken = whole(*EARLY), tmp_path / "broken"
    with monkeypatch.context() as patch:
        stop_at(patch, step, False, Interrupted("stopped"))
        assert command(*RUN, *EARLY, f"hydra.run.dir={broken}").status == 130
    assert command(*RUN, *EARLY, f"hydra.run.dir={broken}", "ckpt_path=last").status == 0
    assert_the_same_run(expected, broken)
    assert record_of(broken)["reason"] == record_of(expected)["reason"]


@pytest.fixture
def short_of_time(monkeypatch):
    """Time is up at the third update, in the middle of an accumulation, as Lightning's timer says it."""
    from lightning.pytorch.callbacks import Timer

    clock = {"limit": 1}
    monkeypatch.setattr(Timer, "time_elapsed", lambda self, stage="train": clock["elapsed"])

    def at_batch(self, trainer, *unused):
        clock["elapsed"] = 30.0 if trainer.global_step >= 3 else 1.0
        self._check_time_remaining(trainer)

    clock["elapsed"] = 1.0
    monkeypatch.setattr(Timer, "on_train_batch_end", at_batch)
    return clock


@pytest.mark.slow
def test_max_time_ends_a_run_with_a_validation_and_more_time_continues_it(command, tmp_path, short_of_time, whole):
    directory = tmp_path / "run"
    place = f"hydra.run.dir={directory}"
    outcome = command(*RUN, "trainer.max_time='00:00:00:20'", place)
    assert outcome.status == 0, outcome.stderr
    record = record_of(directory)
    assert (record["status"], record["steps"]) == ("finished", 3)
    assert record["reason"] == "trainer.max_time was used up at update 3 of 27"
    assert record["metrics"]["final"]["val/coverage"] == 1 and "val/packed_nats_per_char" in record["metrics"]["final"]
    outcome = command(*RUN, "trainer.max_time='00:00:00:20'", place, "ckpt_path=last")
    assert outcome.status == 0 and "is finished; nothing to do" in outcome.stdout
    outcome = command(*RUN, "trainer.max_time='00:00:01:00'", place, "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert record_of(directory)["steps"] == 27 and record_of(directory)["reason"] is None
    assert same(checkpoint_of(directory)["state_dict"], checkpoint_of(whole())["state_dict"])


@pytest.mark.slow
def test_three_kills_at_random_moments_change_nothing(tmp_path):
    file = tmp_path / "result.json"
    ended = subprocess.run(
        [sys.executable, "scripts/kill_and_resume.py", "--kills", "3", "--epochs", "6", "--json", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(file.read_text())
    assert len(result["kills"]) >= 2 and result["differences"] == []


@pytest.mark.slow
def test_a_difference_from_an_undisturbed_run_is_noticed(tmp_path, whole):
    one, other = whole(), tmp_path / "other"
    shutil.copytree(one, other)
    assert compare(one, other) == []
    (other / "metrics.csv").write_text((other / "metrics.csv").read_text() + (other / "metrics.csv").read_text()[-80:])
    saved = checkpoint_of(other)
    name = next(iter(saved["state_dict"]))
    saved["state_dict"][name] = nn.Parameter(saved["state_dict"][name] + math.ulp(1.0) * 2**30).data
    torch.save(saved, other / "checkpoints" / "last.ckpt")
    found = compare(one, other)
    assert any(name in one for one in found) and any("metrics.csv" in one for one in found)
