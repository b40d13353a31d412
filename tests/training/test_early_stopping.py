"""Promises of early stopping: its patience is counted in validations or in updates, and may change on the way."""

import pytest
from programs import record_of
from tiny import TINY

from frontpage.training.callbacks.early_stopping import EarlyStopping
from frontpage.training.callbacks.monitor import Monitor

# Nothing is ever better by 10 but the first validation.
RUN = (*TINY, "callbacks=early_stopping", "callbacks.early_stopping.min_delta=10.0", "model.original_metric=never")
PATIENCE, UPDATES = "callbacks.early_stopping.patience", "callbacks.early_stopping.patience_updates"


def ended_at(directory):
    record = record_of(directory)
    assert record["status"] == "finished"
    return record["steps"] if (record["reason"] or "").startswith("early stopping") else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interval", "asked", "end"),
    [
        (3, (f"{UPDATES}=7",), 3 + 3 * 3),
        (3, (f"{UPDATES}=6", f"{PATIENCE}=9"), 3 + 2 * 3),
        (5, (f"{UPDATES}=1",), 5 + 5),
        (2, (f"{PATIENCE}=4",), 2 + 4 * 2),
    ],
)
def test_patience_in_updates_is_as_many_validations_as_they_have_rounded_up(command, tmp_path, interval, asked, end):
    outcome = command(*RUN, f"val_interval={interval}", *asked, f"hydra.run.dir={tmp_path}/run")
    assert outcome.status == 0, outcome.stderr
    assert ended_at(tmp_path / "run") == end


@pytest.mark.slow
def test_a_value_that_is_reached_ends_a_run_and_is_the_reason(command, tmp_path):
    reached = "+callbacks.early_stopping.stopping_threshold=99"
    assert command(*RUN, "val_interval=3", reached, f"hydra.run.dir={tmp_path}/run").status == 0
    record = record_of(tmp_path / "run")
    assert ended_at(tmp_path / "run") == 3
    assert "got no better" not in record["reason"] and "threshold" in record["reason"]


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_patience_that_it_is_given_now(command, tmp_path):
    settings = (*RUN, "val_interval=2", f"hydra.run.dir={tmp_path}/run", "ckpt_path=last")
    assert command(*settings, f"{PATIENCE}=6", "trainer.max_steps=6").status == 0
    assert ended_at(tmp_path / "run") is None
    assert command(*settings, f"{PATIENCE}=4", "trainer.max_steps=17").status == 0
    assert ended_at(tmp_path / "run") == 10


@pytest.mark.parametrize("make", [lambda: EarlyStopping("val/loss"), lambda: Watch("x.jsonl", every=1, texts=4)])
def test_a_state_from_before_a_key_was_kept_is_one_and_what_is_none_is_told(make):
    callback, older = make(), make().state_dict()
    del older["stopped_at" if "stopped_at" in older else "newest"]
    assert list(callback.unlike_state(older, "here")) == []
    callback.load_state_dict(older)
    first = next(iter(older))
    assert list(callback.unlike_state({**older, "more": 1}, "here")) == ["here has a more too many"]
    assert any(f"lacks {first}" in one for one in callback.unlike_state({}, "here"))
    assert list(callback.unlike_state(5, "here")) == ["here is a int, not a dictionary"]


class Watch(Monitor):
    """A monitor that measures nothing."""

    choose = measure = scalars = None
