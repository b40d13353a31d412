"""Promises of the time left, with a clock that stands still until a test moves it."""

import pytest
from tiny import TINY

from frontpage.training.callbacks.progress import Progress
from frontpage.training.callbacks.time_left import TimeLeft


class Clock:
    """A clock that shows what it is set to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(time_left, clock, updates, *, pace=2.0, first=None, validate_every=None, cost=0.0):
    """Let time pass as a session would: `first` seconds for the first update, `cost` for each validation."""
    for update in range(1, updates + 1):
        clock.now += first if first and update == 1 else pace
        time_left.update_done()
        if validate_every and update % validate_every == 0:
            clock.now += cost
            time_left.validated()


def test_it_is_not_known_before_a_pace_is(clock):
    time_left = TimeLeft(clock)
    assert time_left.seconds(10, 1) is None
    run(time_left, clock, 1)
    assert time_left.seconds(10, 1) is None
    run(time_left, clock, 1)
    assert time_left.seconds(10, 0) == pytest.approx(20)


def test_the_first_update_of_a_session_does_not_count(clock):
    time_left = TimeLeft(clock)
    run(time_left, clock, 5, first=300.0)
    assert time_left.seconds(100, 0) == pytest.approx(200)


def test_validations_are_left_out_of_the_pace_and_added_for_those_to_come(clock):
    time_left = TimeLeft(clock)
    run(time_left, clock, 21, validate_every=5, cost=30.0)
    assert time_left.seconds(50, 0) == pytest.approx(100)
    assert time_left.seconds(50, 3) == pytest.approx(100 + 3 * 30)


def test_what_is_said_is_what_then_passes(clock):
    """At every update after the second validation: no drift, whatever the mixture."""
    total, every, cost = 60, 10, 17.0
    said, passed = {}, {}
    time_left = TimeLeft(clock)
    for update in range(1, total + 1):
        clock.now += 90.0 if update == 1 else 2.0
        time_left.update_done()
        if update > 2 * every:
            said[update] = time_left.seconds(total - update, total // every - update // every + (update % every == 0))
            passed[update] = clock.now
        if update % every == 0:
            clock.now += cost
            time_left.validated()
    assert len(said) == 40
    for update, seconds in said.items():
        assert seconds == pytest.approx(clock.now - passed[update]), update


def test_a_resumed_session_keeps_its_own_pace(clock):
    before = TimeLeft(clock)
    run(before, clock, 50, pace=9.0)
    clock.now += 86_400  # the night in between
    after = TimeLeft(clock)
    run(after, clock, 3, pace=1.0, first=40.0)
    assert after.seconds(10, 0) == pytest.approx(10)


def test_checkpoints_are_left_out_of_the_pace_and_added_for_those_to_come(clock):
    """Of two updates in three the checkpoints alone stand between, of the third a validation, too."""
    time_left = TimeLeft(clock)
    for update in range(1, 13):
        clock.now += 2.0
        time_left.update_done()
        if update % 3 == 0:
            clock.now += 30.0
            time_left.validated()
        for seconds in (4.0, 1.0) if update % 3 else (4.0,):
            clock.now += seconds
            time_left.saved(seconds)
    saving = (8 * 5.0 + 4 * 4.0) / 12
    assert time_left.seconds(9, 0) == pytest.approx(9 * 2)
    assert time_left.seconds(9, 3, 9) == pytest.approx(9 * 2 + 3 * 30 + 9 * saving)


def test_a_checkpoint_that_stands_alone_is_no_part_of_a_validation(clock):
    time_left = TimeLeft(clock)
    for update in range(1, 6):
        clock.now += 2.0
        time_left.update_done()
        clock.now += 7.0 * (update == 2) + 50.0 * (update == 4)
        if update == 2:
            time_left.saved(7.0)
        if update == 4:
            time_left.validated()
    assert time_left.seconds(0, 1, 0) == pytest.approx(50) and time_left.seconds(0, 0, 1) == pytest.approx(7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("val_interval=3", "trainer.max_steps=7", "save_interval=2"),
        ("trainer.evals_per_epoch=3", "callbacks.last_checkpoint.milestones=2"),
        ("trainer.validate_first_step=true", "val_interval=4", "save_interval=3"),
    ],
)
def test_the_events_that_are_counted_as_left_are_those_that_come(command, monkeypatch, extra):
    counted, done = [], {"validations": 0, "saves": set()}
    ended, validated, saved = Progress.on_train_batch_end, Progress.on_validation_end, Progress.on_saved

    def count(self, trainer, pl_module, *others):
        ended(self, trainer, pl_module, *others)
        if trainer.global_step:
            left = self._events_left(trainer, pl_module.total_steps)
            counted.append((done["validations"], len(done["saves"]), *left))

    def note_validation(self, trainer, pl_module):
        validated(self, trainer, pl_module)
        done["validations"] += 1

    def note_save(self, trainer, seconds):
        saved(self, trainer, seconds)
        assert seconds > 0
        done["saves"].add(trainer.global_step)

    monkeypatch.setattr(Progress, "on_train_batch_end", count)
    monkeypatch.setattr(Progress, "on_validation_end", note_validation)
    monkeypatch.setattr(Progress, "on_saved", note_save)
    known = "callbacks.best_checkpoint=null"  # which validations are among the best nobody knows beforehand
    assert command(*TINY, "trainer.accumulate_grad_batches=2", known, *extra).status == 0
    assert len(counted) > 5 and done["saves"]
    for validations, saves, *left in counted:
        assert left == [done["validations"] - validations, len(done["saves"]) - saves]


@pytest.mark.slow
def test_a_progress_line_says_when_the_run_ends(command):
    outcome = command(*TINY, "callbacks.progress.seconds=0", "trainer.max_steps=6", "val_interval=2")
    lines = [line for line in outcome.stdout.splitlines() if "training: loss=" in line]
    assert len(lines) == 6
    assert lines[0].endswith("time left not known yet")
    assert all(line.endswith(" left") and "00:0" in line for line in lines[3:])


@pytest.mark.slow
def test_a_limit_of_time_bounds_what_is_said(command):
    limits = ("trainer.max_epochs=1000000", "trainer.max_steps=8000000", "trainer.max_time=00:00:00:01")
    outcome = command(*TINY, "callbacks.progress.seconds=0", *limits, "model.original_metric=never")
    lines = [line for line in outcome.stdout.splitlines() if "training: loss=" in line]
    assert lines and all(line.endswith(("00:00 left", "00:01 left")) for line in lines)
