"""Promises of what `run.json` says of a run's validations, by their values."""

from types import SimpleNamespace

import pytest
import torch
from programs import record_of, train_tiny

from frontpage.evaluation.metrics import HEADLINE
from frontpage.machine.processor import processor_name
from frontpage.runs.record import commits_of, processors_of
from frontpage.training.callbacks.record_run import RecordRun


def validated(record, scores):
    """Give the callback one validation after another: {update: val/nats_per_char}."""
    for step, score in scores.items():
        trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), global_step=step, is_global_zero=False, callbacks=[])
        metrics = {"val/nats_per_char": score, "val/loss": 2 * score}
        record.on_validation_end(trainer, SimpleNamespace(metrics=metrics, loss=None, headline=HEADLINE))


def test_the_best_is_the_lowest_the_newest_of_equals_and_the_final_is_the_newest(tmp_path):
    record = RecordRun(tmp_path / "run.json", {})
    record.record = {"metrics": {}}
    best = {"val/nats_per_char": 2.0, "val/loss": 4.0}
    validated(record, {3: 5.0, 6: 2.0, 9: 3.0, 12: 2.0, 15: 4.0})
    newest = {"val/nats_per_char": 4.0, "val/loss": 8.0}
    assert record.record["metrics"] == {"best": best | {"step": 12}, "final": newest}
    resumed = RecordRun(tmp_path / "run.json", {})
    resumed.record = {"metrics": {}}
    resumed.load_state_dict(record.state_dict())
    validated(resumed, {18: 2.5})
    assert resumed.record["metrics"]["best"] == best | {"step": 12}
    validated(resumed, {21: 1.0})
    assert resumed.record["metrics"]["best"] == {"val/nats_per_char": 1.0, "val/loss": 2.0, "step": 21}


@pytest.mark.slow
@pytest.mark.parametrize(
    "length, shown",
    [
        (["trainer.max_epochs=2"], 216),
        (["trainer.max_epochs=2", "trainer.max_steps=20"], 127),
        (["trainer.max_epochs=3", "trainer.limit_train_batches=0.5"], 3 * 108 * 8 / 17),  # 8 of 17 batches
    ],
)
def test_titles_shown_are_those_of_the_epochs_and_of_an_epoch_left_early_its_share(length, shown, tmp_path):
    record = record_of(train_tiny(tmp_path / "run", *length))
    assert record["data"]["train_titles"] == 108 and record["tokens_per_update"] == 256
    assert record["titles_shown"] == round(shown)
    assert record["processor"] == processor_name(torch.device("cpu"))


@pytest.mark.slow
def test_a_run_that_goes_on_counts_the_titles_that_it_has_shown_before(tmp_path):
    longer = ("trainer.max_epochs=2", "ckpt_path=last")
    first = record_of(train_tiny(tmp_path / "run", *longer, "trainer.max_steps=20"))["titles_shown"]
    record = record_of(train_tiny(tmp_path / "run", *longer, "trainer.max_steps=26"))
    assert record["titles_shown"] == 165 == first + 38
    assert [one["from_update"] for one in record["sittings"]] == [0, 20]
    assert all(one["git_commit"] == record["git_commit"] for one in record["sittings"])


def test_a_run_of_several_sittings_has_the_commits_of_all():
    sittings = [{"git_commit": "a" * 40, "git_dirty": True}, {"git_commit": "b" * 40}, {"git_commit": "a" * 40}]
    newest = {"git_commit": "a" * 40}
    assert commits_of(newest) == ["aaaaaaa"] and commits_of({"git_commit": None}) == []
    assert commits_of(newest | {"sittings": sittings}) == ["aaaaaaa+", "bbbbbbb", "aaaaaaa"]
    assert commits_of(newest | {"sittings": "damaged"}) == ["aaaaaaa"]


def test_a_run_of_several_machines_has_the_processors_of_all():
    sittings = [{"processor": "A"}, {"processor": "A"}, {"device": "cpu (2 threads)"}]
    assert processors_of({"processor": "B", "sittings": sittings}) == ["A", "cpu (2 threads)"]
    assert processors_of({"processor": "B"}) == ["B"] and processors_of({}) == ["unknown"]
