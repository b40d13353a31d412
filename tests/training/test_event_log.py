"""Promises of events.jsonl: strict JSON, a line an event."""

import json
from types import SimpleNamespace

from frontpage.training.callbacks.event_log import EventLog


def test_a_number_that_is_not_finite_is_null_as_in_the_record(tmp_path):
    log, trainer = EventLog(tmp_path / "events.jsonl", {}), SimpleNamespace(is_global_zero=True)
    log.write(trainer, "training_step", loss=float("nan"), norm=float("inf"), step=3, words="NaN\n")
    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    event = json.loads(line, parse_constant=refuse)
    assert event.pop("timestamp") > 0
    assert event == {"event": "training_step", "loss": None, "norm": None, "step": 3, "words": "NaN\n"}
