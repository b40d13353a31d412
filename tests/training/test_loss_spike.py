"""Promises of the guard against jumps of the training loss."""

import json
import re

import pytest
import torch
from tiny import TINY

from frontpage.training.callbacks.loss_spike import STATE, LossSpike


def course(length, seed=0, noise=0.1):
    """A loss that falls from 9 towards 5, with noise."""
    noises = noise * torch.randn(length, generator=torch.Generator().manual_seed(seed))
    return 5 + 4 * torch.exp(-torch.arange(length) / 60) + noises


def found(losses, **options):
    """The update of the worst spike among the losses, or None."""
    guard = LossSpike(**options)
    for step, loss in enumerate(losses, start=1):
        guard.compare(loss, step)
    return int(guard.worst[3]) or None


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_course_has_no_spike(seed):
    assert found(course(1000, seed)) is None


@pytest.mark.parametrize("height", [1.5, 30.0, float("inf")])
def test_a_spike_is_found_at_its_update(height):
    losses = course(500)
    losses[399] += height
    assert found(losses) == 400
    assert found(losses, threshold=1e9) == (400 if height == float("inf") else None)


def test_a_spike_does_not_hide_the_next():
    guard, losses = LossSpike(), course(500)
    losses[[300, 310]] += torch.tensor([1000.0, 2.5])
    steps = []
    for step, loss in enumerate(losses, start=1):
        guard.compare(loss, step)
        if guard.worst[0] > 0:
            steps.append(step)
            guard.worst = torch.zeros(4)
    assert steps == [301, 311]


@pytest.mark.slow
def test_a_level_that_stays_up_becomes_the_new_course():
    guard, losses = LossSpike(), course(2000)
    losses[1000:] += 3
    flagged = []
    for step, loss in enumerate(losses, start=1):
        guard.compare(loss, step)
        if guard.worst[0] > 0:
            flagged.append(step)
            guard.worst = torch.zeros(4)
    assert flagged == list(range(1001, 1011))


def test_a_falling_loss_and_a_first_window_are_never_a_spike():
    assert found(torch.linspace(9, 0, 400)) is None
    assert found(torch.tensor([1.0, 50.0, 1.0, 80.0]), window=4) is None


def test_its_state_goes_on_to_the_bit():
    losses = course(400)
    whole, first = LossSpike(window=30), LossSpike(window=30)
    for step, loss in enumerate(losses, start=1):
        whole.compare(loss, step)
        if step <= 173:
            first.compare(loss, step)
    second = LossSpike(window=30)
    second.load_state_dict(first.state_dict())
    for step, loss in enumerate(losses[173:], start=174):
        second.compare(loss, step)
    one, other = whole.state_dict(), second.state_dict()
    assert one["seen"] == other["seen"] == 400
    assert all(torch.equal(one[name], other[name]) for name in STATE)


# One batch again and again without dropout, so the loss is smooth; the rate jumps, and so does the loss.
JUMPY = (*TINY, "trainer.overfit_batches=1", "model.dropout=0", "trainer.max_epochs=60", "trainer.max_steps=40")
JUMPY = (*JUMPY, "callbacks.loss_spike.window=10", "log_interval=5", "trainer.evals_per_epoch=1", "val_interval=40")


@pytest.fixture
def jumping(monkeypatch):
    """The loss of update 33 is reported far too high."""
    from frontpage.recipe.language_module import LanguageModule

    step = LanguageModule.training_step

    def with_a_jump(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.trainer.global_step == 32:
            self.loss = self.loss + 100
        return loss

    monkeypatch.setattr(LanguageModule, "training_step", with_a_jump)


def record_of(directory):
    return json.loads((directory / "run.json").read_text())


@pytest.mark.slow
def test_a_jump_is_said_and_recorded(command, run_directories, jumping):
    outcome = command(*JUMPY)
    assert outcome.status == 0
    said = [line for line in record_of(run_directories()[0])["notices"] if "train/loss jumped" in line]
    assert len(said) == 1 and "at update 33 " in said[0]
    assert said[0] in outcome.stdout


@pytest.mark.slow
def test_a_jump_stops_the_run_where_that_was_asked_for(command, run_directories, jumping):
    outcome = command(*JUMPY, "callbacks.loss_spike.action=stop")
    assert outcome.status == 1 and re.match("train/loss jumped by .* at update 33 ", outcome.stderr)
    assert outcome.stderr.count("\n") == 2, "what happened, and what to try"
    record = record_of(run_directories()[0])
    assert record["status"] == "failed" and record["steps"] == 35, "it is looked at on logging steps"


@pytest.mark.slow
def test_a_run_without_jumps_says_nothing(command, run_directories):
    assert command(*TINY, "trainer.max_epochs=2", "callbacks.loss_spike.window=10").status == 0
    assert not [line for line in record_of(run_directories()[0])["notices"] if "jumped" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("callbacks.loss_spike.action=skip", "notice stop"),
        ("callbacks.loss_spike.threshold=0", "above 0"),
        ("callbacks.loss_spike.window=0", "at least 1"),
    ],
)
def test_what_it_refuses(command, override, allowed):
    outcome = command(*TINY, override)
    assert outcome.status == 2 and override in outcome.stderr and allowed in outcome.stderr
