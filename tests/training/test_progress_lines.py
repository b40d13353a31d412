"""Promises of the training lines on the console: exact means and rates since the line before, paced as asked."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch
from tiny import TINY
from tqdm import tqdm

from frontpage.training.callbacks.progress import BAR, Progress
from frontpage.training.callbacks.run_clock import RunClock
from frontpage.training.callbacks.since_line import SinceLine

RUN = (*TINY, "model.original_metric=never", "callbacks.sample_titles=null")


def lines_of(outcome):
    """(update, the line) of each training line."""
    assert outcome.status == 0, outcome.stderr
    return [
        (int(step), line)
        for step, line in re.findall(r"^\[ *(\d+)/\d+\] training: (.*)$", outcome.stdout, re.MULTILINE)
    ]


def number(line, pattern):
    return float(re.search(pattern, line)[1].replace(",", ""))


def test_the_mean_weighs_each_update_by_its_targets():
    since = SinceLine()
    for targets, loss in (((3, 5), 2.0), ((1,), 10.0)):
        for one in targets:
            since.batch_done(one)
        since.update_done(torch.tensor(loss))
    since.batch_done(100)  # of an update that is under way
    assert since.loss == pytest.approx((8 * 2.0 + 1 * 10.0) / 9)


def test_each_task_has_its_own_mean_and_rates_are_those_since_the_line():
    since = SinceLine(update=40, tokens=1000, seconds=6.0)
    for name, loss in (("lm", 4.0), ("coherence", 1.0), ("lm", 2.0)):
        since.batch_done(1, (name, torch.tensor(loss)))
    assert since.tasks == {"lm": 3.0, "coherence": 1.0}
    assert since.rates(50, 3000, 10.0) == (2.5, 500.0)


def test_a_process_that_shows_nothing_keeps_nothing():
    progress, loss = Progress(), torch.tensor(1.0)
    progress.on_train_batch_end(
        SimpleNamespace(is_global_zero=False), SimpleNamespace(loss=loss, newest_task=("lm", loss)), None, None, 0
    )
    assert progress._since.tasks == {} and math.isnan(progress._since.loss)


def test_a_bar_of_eighty_columns_has_ten_for_the_bar_and_the_time_left():
    said = "33%, 10:10 left, loss=6.1524 lr=0.00055 norm=0.619 2.09 steps/s 4,272 tokens/s"
    line = tqdm.format_meter(10, 30, 1.0, ncols=80, ascii=True, prefix=said, bar_format=BAR)
    assert line == f"10/30 |###3      | {said}"[:80]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_so_many_updates_a_line_has_the_mean_of_all_targets_since_the_last(command, monkeypatch, accumulate):
    """The last update of an epoch has fewer targets; two epochs, so that one stands in the midst of a line."""
    losses, ended = [], Progress.on_train_batch_end

    def note(self, trainer, pl_module, outputs, batch, batch_idx):
        before = self._step
        ended(self, trainer, pl_module, outputs, batch, batch_idx)
        sizes = trainer.train_dataloader.sizes_of(trainer.current_epoch)
        if trainer.global_step > before:
            losses.append((sizes.targets_of_update(batch_idx), float(pl_module.loss)))

    monkeypatch.setattr(Progress, "on_train_batch_end", note)
    paced = ("callbacks.progress.every=3", "callbacks.progress.seconds=0", "trainer.max_epochs=2", "val_interval=1000")
    split = (f"trainer.accumulate_grad_batches={accumulate}", f"data.batch_size={8 // accumulate}")
    lines = lines_of(command(*RUN, *paced, *split))
    assert [step for step, _ in lines] == [*range(3, len(losses) + 1, 3)] and len({n for n, _ in losses}) > 1
    for step, line in lines:
        since = losses[step - 3 : step]
        mean = sum(targets * loss for targets, loss in since) / sum(targets for targets, _ in since)
        assert number(line, r"loss=([\d.]+)") == pytest.approx(mean, abs=5.1e-5), step


@pytest.mark.slow
def test_the_interval_of_the_log_paces_the_console_where_it_is_asked_to(command, run_directories):
    paced = ("callbacks.progress.every=${log_interval}", "log_interval=4", "trainer.max_steps=10")
    lines = lines_of(command(*RUN, *paced))
    events = [json.loads(line) for line in (run_directories()[0] / "events.jsonl").read_text().splitlines()]
    logged = [one["step"] for one in events if one["event"] == "training_step"]
    assert [step for step, _ in lines] == logged == [4, 8]
    assert lines_of(command(*RUN, "trainer.max_steps=10", "log_interval=4")) == []  # by seconds, of which few pass


@pytest.mark.slow
def test_rates_are_those_since_the_line_before_by_the_run_s_clock(command, monkeypatch):
    """A clock of half a second an update, whatever validations take."""
    at = {"update": 0}
    monkeypatch.setattr(RunClock, "training_seconds", property(lambda self: at["update"] / 2))
    ended = Progress.on_train_batch_end

    def move(self, trainer, *others):
        at["update"] = trainer.global_step
        ended(self, trainer, *others)

    monkeypatch.setattr(Progress, "on_train_batch_end", move)
    lines = lines_of(command(*RUN, "callbacks.progress.every=5", "trainer.max_steps=10", "val_interval=3"))
    assert [step for step, _ in lines] == [5, 10]
    for step, line in lines:
        assert number(line, r"([\d.]+) steps/s") == 2 and number(line, r"([\d,]+) tokens/s") == 2 * 8 * 32
        assert number(line, r"(\d+)%") == 10 * step and "norm=" in line and "lr=" in line


def test_an_interval_that_is_none_is_refused(command):
    outcome = command(*RUN, "callbacks.progress.every=0")
    assert outcome.status == 2 and outcome.stderr.startswith("callbacks.progress.every=0: ")
