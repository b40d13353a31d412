"""Promises of which process is told to be the slowest, by their values."""

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
