"""Promises of a resumed run about itself: that it starts from its checkpoint, and what its files lack."""

import csv
import json

import pytest
import torch
from programs import record_of, train_tiny
from tiny import TINY

from frontpage.command.notices import forget_notices, notices
from frontpage.runs.resumed_files import say_gaps
from frontpage.runs.run import Run
from frontpage.training.callbacks.random_state import RandomState
from frontpage.training.callbacks.resume_report import digest

SETTINGS = ("trainer.max_epochs=2", "save_interval=5", "log_interval=1", "model.dropout=0.1")
PARTS = {"weights", "optimizer", "schedule", "generators", "position"}


@pytest.fixture
def run(tmp_path):
    """A run that stands in the middle of its second epoch."""
    directory = train_tiny(tmp_path / "run", *SETTINGS)
    for name in ("last", "best"):
        (directory / "checkpoints" / f"{name}.ckpt").unlink()
    (directory / "run.json").write_text((directory / "run.json").read_text().replace('"finished"', '"failed"', 1))
    return directory


def resume(command, run):
    outcome = command(*TINY, *SETTINGS, f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("averaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_before_the_first_update_the_parts_are_those_of_the_checkpoint_digest_by_digest(
    command, tmp_path, averaged, request
):
    if averaged:
        request.getfixturevalue("monkeypatch").setattr(f"{__name__}.SETTINGS", (*SETTINGS, "callbacks=ema"))
    run = request.getfixturevalue("run")
    events = resume(command, run)
    (place,) = [index for index, event in enumerate(events) if event["event"] == "resumed"]
    event, rest = events[place], [event["step"] for event in events[place:] if "step" in event]
    assert event["update"] == 30 and event["checkpoint"].endswith("last-1.ckpt") and len(event["digest"]) == 64
    assert min(rest) == 31
    assert set(event["parts"]) >= PARTS | {"callback RunClock", "callback BestCheckpoint", "callback RecordRun"}
    for name, part in event["parts"].items():
        assert part["equal"] and part["checkpoint"] == part["run"] and len(part["run"]) == 32, name


@pytest.mark.slow
def test_a_part_that_is_not_the_checkpoints_is_named(command, run, monkeypatch):
    monkeypatch.setattr(RandomState, "on_train_start", lambda *unused: torch.manual_seed(0))
    event = next(event for event in resume(command, run) if event["event"] == "resumed")
    assert [name for name, part in event["parts"].items() if not part["equal"]] == ["generators"]
    assert any(one.endswith("holds: generators") for one in record_of(run)["notices"])


def test_a_digest_tells_values_types_keys_and_order_apart():
    one = {"a": torch.arange(3.0), "b": [1, 2.0, None]}
    others = [
        {"a": torch.arange(3), "b": [1, 2.0, None]},
        {"a": torch.arange(3.0)[None], "b": [1, 2.0, None]},
        {"a": torch.arange(3.0).nextafter(torch.ones(3)), "b": [1, 2.0, None]},
        {"c": torch.arange(3.0), "b": [1, 2.0, None]},
        {"a": torch.arange(3.0), "b": [2.0, 1, None]},
        {"a": torch.arange(3.0), "b": [1, 2.0]},
    ]
    assert digest(one) == digest({"b": (1, 2.0, None), "a": torch.arange(6.0)[:3]})
    assert len({digest(one), *map(digest, others)}) == 7


@pytest.mark.slow
def test_a_gap_is_said_and_what_is_no_text_or_no_object_is_left_out(command, run):
    file = run / "metrics.csv"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:11]) + b"\xff\xfe\0,1\n" + b"".join(lines[20:]))
    with (run / "events.jsonl").open("a") as events:
        events.write('[1]\n3\n"event"\nnull\n{"step": "x"}\n')
    resume(command, run)
    (said,) = [one for one in record_of(run)["notices"] if "the gap stays" in one]
    assert said == f"{file} lacks 8 of 30 logged training steps (updates 11 to 18): the gap stays"
    with file.open(newline="") as rows:
        steps = [int(row["step"]) + 1 for row in csv.DictReader(rows) if row["train/loss"]]
    assert steps == [*range(1, 11), *range(19, 35)]


@pytest.mark.parametrize("cut", ["metrics.csv", "events.jsonl"])
def test_either_file_tells_what_the_other_lacks(tmp_path, cut):
    forget_notices()
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n0,2.5,\n1,2.25,\n1,,3\n2,2.0,\n")
    told = [{"event": "model_info"}, *({"event": "training_step", "step": step} for step in (1, 2, 3))]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    say_gaps(Run(tmp_path))
    assert notices() == []
    lines = (tmp_path / cut).read_text().splitlines(keepends=True)
    (tmp_path / cut).write_text("".join(lines[:-1]))
    say_gaps(Run(tmp_path))
    assert notices() == [f"{tmp_path / cut} lacks 1 of 3 logged training steps (update 3): the gap stays"]
