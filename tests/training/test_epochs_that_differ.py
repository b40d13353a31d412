"""Promises of runs whose epochs differ, in tokens (subword_alpha) or in the rows of an update: exact, and resumable."""

import csv
import os
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from programs import record_of, train_tiny, weights_of
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at
from tiny import ROOT, TINY

from frontpage.command.build import build
from frontpage.command.endings import Interrupted

SUBWORDS = ("tokenizer=unigram", "data.subword_alpha=0.1")
RECASED = ("data.recase=[0.5,0.9,0.2]",)
COURSE = ("trainer.accumulate_grad_batches=[1,3,2]", "data.batch_size=1")
BOTH = (*SUBWORDS, *RECASED, *COURSE)
SHORT = (
    "data.num_titles=40",
    "data.packing_seed=2",
    "trainer.max_epochs=3",
    "log_interval=1",
    "callbacks.loss_spike=null",
)
RUN = (*TINY, *SHORT, "model.dropout=0.2")
PLAIN = (*SHORT, "model.dropout=0")


def column(directory, name):
    """{update: value} of the lines of metrics.csv that have one; they count from 0."""
    with (directory / "metrics.csv").open() as file:
        return {int(row["step"]) + 1: float(row[name]) for row in csv.DictReader(file) if row[name]}


def loader_of(directory):
    """The loader of training of a run, made from its config."""
    config = OmegaConf.load(directory / "config.yaml")
    data = build(config.data, "data")
    data.read()
    data.setup()
    trainer = build(config.trainer, "trainer", callbacks=[], logger=[])
    return data.loader_of(trainer)


SINGLE = {"subwords": SUBWORDS, "recased": RECASED, "course": COURSE}
KINDS = [pytest.param(one, id=name, marks=pytest.mark.slow) for name, one in SINGLE.items()]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [*KINDS, pytest.param(BOTH, id="both")])
def test_updates_tokens_and_validations_are_those_of_each_epoch(tmp_path, overrides, capsys):
    run = train_tiny(tmp_path / "run", *PLAIN, *overrides)
    record, sizes, said = record_of(run), loader_of(run).run_sizes, capsys.readouterr().out
    assert record["titles_shown"] == 3 * record["data"]["train_titles"]
    each = [sizes.of(epoch) for epoch in range(3)]
    ends = [sum(one.updates for one in each[: count + 1]) for count in range(3)]
    if overrides == BOTH:  # an epoch with more batches than the one before, and one with fewer
        assert each[0].batches < each[1].batches > each[2].batches
    assert record["steps"] == ends[-1] and len(column(run, "train/loss")) == ends[-1]
    assert [*column(run, "val/loss")] == ends
    assert record["tokens_seen"] == sum(one.tokens for one in each)
    largest = max(each, key=lambda one: one.update_targets)
    assert record["rows_per_update"] == largest.update_rows == (3 if COURSE[0] in overrides else 8)
    assert record["accumulate_grad_batches"] == largest.accumulated == (3 if COURSE[0] in overrides else 1)
    fewest, most = min(one.updates for one in each), max(one.updates for one in each)
    assert f"{ends[-1]} updates, {fewest}{'' if fewest == most else f' to {most}'} an epoch" in said
    rates = checkpoint_of(run)["lr_schedulers"][0]
    assert rates["last_epoch"] == ends[-1]


@pytest.mark.slow
def test_rows_of_an_update_train_alike_however_a_course_splits_them(tmp_path):
    runs = []
    for batch, accumulation in ((8, "[1,2]"), (4, "[2,4]")):
        split = (f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={accumulation}")
        runs.append(train_tiny(tmp_path / str(batch), *PLAIN, "val_interval=1000", *split))
    whole, parts = runs
    for name in ("train/loss", "train/grad_norm"):
        assert column(parts, name) == pytest.approx(column(whole, name), rel=1e-5)
    expected, got = weights_of(whole), weights_of(parts)
    assert all(torch.allclose(expected[name], got[name], atol=1e-5) for name in expected)
    assert record_of(whole)["tokens_seen"] == record_of(parts)["tokens_seen"]


@pytest.mark.slow
def test_a_list_of_equal_numbers_is_that_number(tmp_path):
    runs = []
    for name, many in (("number", "2"), ("list", "[2,2]")):
        runs.append(train_tiny(tmp_path / name, *PLAIN, f"trainer.accumulate_grad_batches={many}"))
    assert losses_of(runs[0]) == losses_of(runs[1])
    assert same(weights_of(runs[0]), weights_of(runs[1]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts, and the last updates of its epochs."""
    run = train_tiny(tmp_path_factory.mktemp("whole") / "run", *RUN, *BOTH)
    return run, loader_of(run).run_sizes


@pytest.mark.slow
@pytest.mark.parametrize("place", ["first", "within", "before", "end", "after", "last"])
def test_a_run_that_broke_off_anywhere_in_its_epochs_ends_with_the_same_bits(
    command, tmp_path, monkeypatch, whole, place
):
    expected, sizes = whole
    end = int(sizes.updates(2))
    step = {"first": 3, "within": end - 3, "before": end - 1, "end": end, "after": end + 1}.get(place)
    broken = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, step or int(sizes.updates(3)) - 1, False, Interrupted("stopped"))
        assert command(*RUN, *BOTH, f"hydra.run.dir={broken}").status == 130
    outcome = command(*RUN, *BOTH, f"hydra.run.dir={broken}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(checkpoint_of(expected)[part], checkpoint_of(broken)[part]), part
    assert losses_of(expected) == losses_of(broken)
    assert record_of(expected)["tokens_seen"] == record_of(broken)["tokens_seen"]
    updates = [[event["step"] for event in events_of(run) if "step" in event] for run in (expected, broken)]
    assert updates[0] == updates[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("data.subword_alpha=0.2",), "data.subword_alpha=0.2: null, or tokenizer=unigram"),
        (
            ("data.recase=1.5",),
            "data.recase=1.5: must be a number or a list, from 0 to 1; a list has one for each epoch",
        ),
        (("data.recase=[0.5,-0.1]",), "data.recase=[0.5, -0.1]: must be a number or a list, from 0 to 1"),
        (("data.recase=[]",), "data.recase=[]: must be a number or a list, from 0 to 1"),
        (("trainer.accumulate_grad_batches=[1,0]",), "trainer.accumulate_grad_batches=[1, 0]: must be"),
        (("trainer.accumulate_grad_batches=[1,2]", "model.lr_scaling=sqrt"), "model.lr_scaling=sqrt: none"),
        (("trainer.accumulate_grad_batches=[1,1000]", "data.drop_tail=true"), "an update of 1000 of them"),
    ],
)
def test_what_cannot_be_is_refused(command, overrides, said, run_directories):
    ended = command(*TINY, *overrides)
    assert ended.status == 2 and said in ended.stderr and len(ended.stderr.splitlines()) <= 2
    assert not any((path / "run.json").exists() for path in run_directories())


@pytest.mark.slow
def test_other_tokens_than_a_run_had_are_refused(command, tmp_path):
    run = tmp_path / "run"
    assert command(*TINY, "trainer.max_steps=2", *SUBWORDS, f"hydra.run.dir={run}").status == 0
    more = (*SUBWORDS, "data.subword_alpha=0.4", "trainer.max_steps=4", f"hydra.run.dir={run}", "ckpt_path=last")
    ended = command(*TINY, *more)
    assert ended.status == 2 and "data.subword_alpha=0.4 (was 0.1)" in ended.stderr


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    runs = []
    devices = ("trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2")
    for name, more in (("one", ("data.batch_size=4",)), ("two", devices)):
        runs.append(tmp_path / name)
        command = [sys.executable, "train.py", *TINY, *PLAIN, "val_interval=1000", *BOTH, *more]
        command += [f"hydra.run.dir={runs[-1]}", f"paths.cache_dir={tmp_path}/cache"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=os.environ)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    expected, got = map(weights_of, runs)
    assert all(torch.allclose(expected[name], got[name], atol=1e-5) for name in expected)
    one, two = map(record_of, runs)
    for name in ("steps", "tokens_seen", "rows_per_update", "tokens_per_update"):
        assert one[name] == two[name], name
