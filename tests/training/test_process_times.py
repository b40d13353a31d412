"""Promises of which process is told to be the slowest, by their values."""

from types import SimpleNamespace

import frontpage.training.callbacks.process_times as module
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.process_times import ProcessTimes

HOSTS = [{"host": f"node{number}"} for number in (1, 2, 3)]


def test_the_slowest_process_is_named_with_its_host_and_what_the_others_waited():
    times = ProcessTimes()
    times.working, times.waiting = [2.0, 6.0, 3.0], [4.0, 0.5, 3.5]
    said = times.summary(HOSTS)
    assert said == "1 of 3, on node2: validated for 6.00 s, the others for 2.50 s, and they waited 60% of the time"


def test_one_process_and_a_run_without_a_validation_have_none():
    alone, unmeasured = ProcessTimes(), ProcessTimes()
    alone.working, alone.waiting = [2.0], [0.0]
    unmeasured.working, unmeasured.waiting = [0.0, 0.0], [0.0, 0.0]
    assert alone.summary(HOSTS) is unmeasured.summary(HOSTS) is None


def test_a_process_works_until_its_last_batch_and_waits_for_the_others_from_there_on(monkeypatch):
    now, told = [0.0], []

    class Events(EventLog):
        def __init__(self):
            pass

        def write(self, trainer, event, **values):
            told.append((event, values))

    def pass_time(seconds):
        now[0] += seconds

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "gathered", lambda trainer, own: [own, (5.0, 0.25)])
    strategy, module_of_run = (
        SimpleNamespace(barrier=lambda: pass_time(3.0)),
        SimpleNamespace(device=SimpleNamespace(type="cpu")),
    )
    trainer = SimpleNamespace(
        world_size=2, state=SimpleNamespace(fn="fit"), strategy=strategy, callbacks=[Events()], global_step=7
    )
    times = ProcessTimes()
    times.on_train_start(trainer, module_of_run)
    for _ in range(2):
        for batch_idx in range(2):
            times.on_validation_batch_start(trainer, module_of_run, None, batch_idx)
            pass_time(1.0)
        times.on_validation_epoch_end(trainer, module_of_run)
    expected = {"step": 7, "working_seconds": (2.0, 5.0), "waiting_seconds": (3.0, 0.25)}
    assert told == [("process_times", expected)] * 2
    assert (times.working, times.waiting) == ([4.0, 10.0], [6.0, 0.5])
