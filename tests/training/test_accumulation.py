"""Promises of gradient accumulation: rows split into micro-batches or processes train alike, and are counted truly."""

import csv
import json
import os
import subprocess
import sys
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from loaders import make
from programs import record_of, train_tiny, weights_of
from tiny import ROOT, TINY

from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import IGNORED
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.training_module import TrainingModule
from frontpage.recipe.update_mean import UpdateMean
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.progress import Progress
from frontpage.training.callbacks.sample_titles import SampleTitles
from frontpage.training.validation_schedule import ValidationSchedule

RUN = ("model.dropout=0", "trainer.max_epochs=2", "log_interval=1", "callbacks.loss_spike=null", "val_interval=1000")


def split(batch, accumulate):
    return f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={accumulate}"


def curve(directory):
    """(update, loss, gradient norm) of every update."""
    with (directory / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return np.array([[float(row[name]) for name in ("step", "train/loss", "train/grad_norm")] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("drop_tail", ["false", "true"])
def test_rows_of_an_update_train_alike_however_they_are_split(tmp_path, drop_tail):
    runs = []
    for batch, accumulate in ((8, 1), (2, 4)):
        settings = (*RUN, *split(batch, accumulate), f"data.drop_tail={drop_tail}")
        runs.append(train_tiny(tmp_path / f"{batch}x{accumulate}", *settings))
    whole, *parts = runs
    assert len(curve(whole)) == record_of(whole)["steps"] > 2
    for part in parts:
        assert curve(part) == pytest.approx(curve(whole), rel=1e-5)
        expected, got = weights_of(whole), weights_of(part)
        assert all(torch.allclose(expected[name], got[name], atol=1e-5) for name in expected)
        same = "rows_per_update", "tokens_per_update", "tokens_seen", "steps"
        assert {name: record_of(whole)[name] for name in same} == {name: record_of(part)[name] for name in same}


@pytest.mark.slow
@pytest.mark.parametrize("asked", [split(8, 1000), split(1000, 1)], ids=" ".join)
def test_an_update_larger_than_an_epoch_is_the_epoch(tmp_path, asked, capsys):
    scaled = ("model.lr_scaling=linear", "model.lr_scaling_rows=8", "optimizer.lr=0.001")
    run = train_tiny(tmp_path / "run", *asked, *scaled)
    record, said = record_of(run), capsys.readouterr().out
    tokens = record["data"]["train_tokens"]
    rows = -(-tokens // 32)
    assert (record["rows_per_update"], record["tokens_per_update"], record["tokens_seen"]) == (rows, tokens, tokens)
    batch = f"batch {rows}" if asked[1].endswith("=1") else f"batch 8 x {-(-rows // 8)} accumulated"
    assert record["micro_batch"] * record["accumulate_grad_batches"] - rows in range(8)
    assert f"{rows:,} rows of 32, {tokens:,} tokens ({batch})" in said
    assert f"{rows} rows an update where 8 are meant; the peak learning rate is {0.001 * rows / 8:.4g}" in said


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    """The last row of an epoch is padded, and one process has none left: each weighs by its own targets."""
    settings = ("model.dropout=0", "trainer.max_epochs=2", "val_interval=1000")
    runs = []
    for name, more in (
        ("one", split(8, 1)),
        ("two", (*split(2, 2), "trainer.devices=2", "trainer.strategy=ddp")),
    ):
        runs.append(tmp_path / name)
        command = [sys.executable, "train.py", *TINY, *settings, *more, f"hydra.run.dir={runs[-1]}"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=os.environ)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    expected, got = map(weights_of, runs)
    assert all(torch.allclose(expected[name], got[name], atol=1e-5) for name in expected)
    one, two = map(record_of, runs)
    assert (one["steps"], one["tokens_seen"]) == (two["steps"], two["tokens_seen"])
    assert (two["micro_batch"], two["accumulate_grad_batches"], two["rows_per_update"]) == (2, 2, 8)
    assert json.loads((runs[1] / "run.json").read_text())["tokens_per_update"] == 8 * 32


# Of 98 tokens in rows of 5, 2 rows a micro-batch, 3 micro-batches an update: computed by hand.
BY_HAND = [
    ({}, {"batches": 10, "updates": 4, "trained_targets": 98, "update_targets": 30, "update_rows": 6}),
    ({"limit": 0.49}, {"batches": 4, "updates": 2, "trained_targets": 40, "update_targets": 30}),
    ({"limit": 2}, {"batches": 2, "updates": 1, "trained_targets": 20, "accumulated": 2, "update_targets": 20}),
    ({"accumulate": 12}, {"updates": 1, "accumulated": 10, "update_targets": 98, "update_rows": 20}),
    ({"drop_tail": True}, {"targets": 90, "batches": 9, "updates": 3, "trained_targets": 90}),
    ({"drop_tail": True, "tokens": 91}, {"targets": 90}),
    ({"drop_tail": True, "tokens": 90}, {"targets": 60}),  # the first token is no target
    ({"world_size": 3, "accumulate": 1}, {"batches": 4, "update_rows": 6, "micro_batch": 2, "full_batch": 30}),
    ({"world_size": 3, "batch_size": 8}, {"batches": 1, "micro_batch": 7, "accumulated": 1, "update_rows": 20}),
]


@pytest.mark.parametrize(("changed", "expected"), BY_HAND, ids=str)
def test_the_sizes_of_an_epoch_are_those_counted_by_hand(changed, expected):
    sizes = EpochSizes(**{"tokens": 98, "block_size": 5, "batch_size": 2, "accumulate": 3} | changed)
    assert {name: getattr(sizes, name) for name in expected} == expected


def test_the_losses_of_an_update_weigh_by_their_targets_over_micro_batches_and_processes():
    """What Lightning makes of them, the mean over micro-batches and processes, is the mean over the targets.

    What is kept is of the process's own micro-batches, and with the last one of an update of all.
    """
    sizes = EpochSizes(48, 5, 2, accumulate=2, world_size=2)  # updates of 20 + 20 and 8 targets: 5 of rank 0, 3 of 1
    losses = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 5.0, (2, 0): 4.0, (2, 1): 7.0}
    # What the other process adds behind updates 0 and 1: the sum of its losses times their shares, and of its shares.
    others = [torch.tensor(pair, dtype=torch.float64) for pair in ([7 / 4, 1 / 2], [21 / 8, 3 / 8])]
    others += [torch.tensor(pair, dtype=torch.float64) for pair in ([4 / 4, 1 / 2], [20 / 8, 5 / 8])]
    descended, kept = {0: 0.0, 1: 0.0}, []
    for rank in range(2):
        trainer = SimpleNamespace(
            train_dataloader=SimpleNamespace(sizes_of=lambda epoch: sizes),
            current_epoch=0,
            global_rank=rank,
            world_size=2,
            _logger_connector=SimpleNamespace(should_update_logs=False),
        )
        module = SimpleNamespace(_trainer=trainer, _losses=UpdateMean(), loss=None)
        module._keep_loss = MethodType(TrainingModule._keep_loss, module)
        module._summed = lambda own: own + others.pop(0)
        for index in range(sizes.batches):
            module.loss_of = lambda batch, loss=losses[index, rank]: torch.tensor(loss)
            weighed = TrainingModule.training_step(module, None, index)
            descended[index // 2] += float(weighed) / 2 / 2
            kept.append(float(module.loss))
    assert descended == {0: pytest.approx((1 + 2 + 3 + 5) / 4), 1: pytest.approx((5 * 4 + 3 * 7) / 8)}
    assert kept == pytest.approx([1, 11 / 4, 41 / 8, 2, 11 / 4, 41 / 8]) and not others


@pytest.mark.parametrize("limit", [1.0, 0.5, 3])
@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize(("batch", "accumulate", "world"), [(1, 1, 1), (4, 3, 1), (2, 2, 3), (7, 1, 2), (3, 4, 2)])
def test_the_shares_of_an_update_add_up_to_one(batch, accumulate, world, drop_tail, limit):
    for tokens in (1000, 1001, 1023):
        sizes = EpochSizes(tokens, 5, batch, accumulate, world, drop_tail=drop_tail, limit=limit)
        shares = np.zeros(sizes.updates)
        for index in range(sizes.batches):
            own = [sizes.targets_of(index, rank) for rank in range(world)]
            assert sum(own) == sizes.targets_in(index) and min(own) >= 0
            shares[index // accumulate] += sum(sizes.share(index, rank) for rank in range(world))
        assert shares == pytest.approx(1.0)
        assert sum(map(sizes.targets_in, range(sizes.batches))) == sizes.trained_targets
        assert not drop_tail or sizes.all_batches % accumulate == 0


@pytest.mark.parametrize(("batch", "world"), [(4, 1), (2, 3), (3, 2)])
def test_a_process_has_the_targets_that_are_counted_for_it(batch, world):
    for rank in range(world):
        loader = make(batch_size=batch, world_size=world, rank=rank)
        counted = [loader.sizes_of(0).targets_of(index, rank) for index in range(len(loader))]
        assert counted == [int((one.targets != IGNORED).sum()) for one in loader]


@pytest.mark.slow
def test_too_few_tokens_for_an_update_without_a_tail_are_refused(command):
    ended = command(*TINY, "data.drop_tail=true", "trainer.accumulate_grad_batches=1000")
    assert ended.status == 2 and "data.batch_size=8" in ended.stderr and "1000 of them" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
def test_intervals_count_updates_and_what_falls_on_one_has_its_order(tmp_path, monkeypatch, accumulate):
    """The update, its log and line, its validation, what callbacks make of that, its checkpoint, whether to stop."""
    done, trainers = [], []

    def note(owner, name, word, wanted=lambda *given: True):
        original = getattr(owner, name)

        def noted(*given, **named):
            result = original(*given, **named)
            if wanted(*given):
                done.append((word, trainers[0].global_step + (word == "update")))  # Lightning counts it later
            return result

        monkeypatch.setattr(owner, name, noted)

    monkeypatch.setattr(EventLog, "on_fit_start", lambda self, trainer, module: trainers.append(trainer))
    note(LanguageModule, "optimizer_step", "update")
    note(Progress, "_status", "line")
    note(EventLog, "write", "log", lambda self, trainer, event: event == "training_step")
    note(EventLog, "write", "validate", lambda self, trainer, event: event == "validation_step")
    note(SampleTitles, "on_validation_end", "callbacks")
    note(CheckpointFile, "save_checkpoint", "save", lambda self, content, path, *more: path.name == "last.ckpt")
    stop = ValidationSchedule.done.fget

    def noted_stop(schedule):
        if not schedule._should_accumulate() and trainers[0].global_step and done[-1][0] != "stop":
            done.append(("stop", trainers[0].global_step))
        return stop(schedule)

    monkeypatch.setattr(ValidationSchedule, "done", property(noted_stop))
    intervals = ("log_interval=2", "val_interval=4", "save_interval=2", "trainer.max_epochs=2", "trainer.max_steps=9")
    intervals += ("callbacks.progress.every=${log_interval}",)
    train_tiny(tmp_path / "run", *intervals, f"trainer.accumulate_grad_batches={accumulate}")
    expected = []
    for update in range(1, 10):
        logged, validated = update % 2 == 0, update % 4 == 0 or update == 9
        expected += [("update", update)] + [("log", update), ("line", update)] * logged
        expected += [("validate", update), ("callbacks", update)] * validated
        expected += [("save", update)] * (logged or validated) + [("stop", update)]
    assert done == expected
