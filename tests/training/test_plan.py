"""Promises of what a run says before it trains: the figures come true, and what cannot fit is refused."""

import json
import re

import pytest
import torch
from tiny import TINY

from frontpage.training.memory.estimate import CUDA_CONTEXT, TrainingMemory
from frontpage.training.plan import check_memory, free_memory, plan_run
from frontpage.training.summary import FAST, SLOW

RATE = 2e6  # operations a second that the machine is said to have: the run takes minutes at it
NAMES = "device data model attention update length operations intervals memory checkpoints time run".split()


def start_of(outcome):
    """The lines before the first step, by name."""
    lines = dict(re.findall(r"^(\w+): +(.*)$", outcome.stdout, re.MULTILINE))
    return {name: lines[name] for name in NAMES}


def numbers(line):
    """The numbers of a line, however it puts them into words."""
    return [float(number.replace(",", "")) for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", line)]


def seconds(line):
    """Its durations, `02:05` or `1:02:05`, in seconds."""
    found = [map(int, one.split(":")) for one in re.findall(r"\b\d+(?::\d\d){1,2}\b", line)]
    return [sum(part * 60**place for place, part in enumerate(reversed([*one]))) for one in found]


class OfTwo:
    """A trainer as one of two devices sees it."""

    world_size = 2

    def __init__(self, trainer):
        self.__dict__["trainer"] = trainer

    def __getattr__(self, name):
        return getattr(self.trainer, name)

    def __setattr__(self, name, value):
        setattr(self.trainer, name, value)


@pytest.mark.slow
def test_two_devices_take_twice_the_rows_and_the_same_time_an_update(command, monkeypatch):
    plans = []

    def both(trainer, *others):
        plans.extend(plan_run(one, *others) for one in (OfTwo(trainer), trainer))
        return plans[-1]

    monkeypatch.setattr("frontpage.training.plan.measure_matmul_peak", lambda device, kind: RATE)
    monkeypatch.setattr("frontpage.training.prepare.plan_run", both)
    assert command(*TINY, "trainer.max_steps=4").status == 0
    two, one = plans
    assert (two.rows, two.tokens) == (2 * one.rows, 2 * one.tokens)
    assert two.seconds_at_peak == pytest.approx(one.seconds_at_peak)
    assert two.memory.total - one.memory.total == one.memory.gradients > 0  # in the buckets of DDP, too


@pytest.mark.slow
def test_the_figures_at_the_start_come_true(command, run_directories, monkeypatch):
    monkeypatch.setattr("frontpage.training.plan.measure_matmul_peak", lambda device, kind: RATE)
    asked = (
        "trainer.accumulate_grad_batches=2",
        "model.dropout=0.25",
        "val_interval=4",
        "trainer.max_time=00:01:00:00",
    )
    outcome = command(*TINY, *asked)
    assert (outcome.status, outcome.stderr) == (0, "")
    said, (directory,) = start_of(outcome), run_directories()
    record = json.loads((directory / "run.json").read_text())
    assert numbers(said["update"]) == [16, 32, 512, 8, 2]
    per_epoch = -(-record["data"]["train_tokens"] // (32 * 8)) + 1 >> 1
    assert said["length"].endswith("00:01:00:00") and numbers(said["length"])[:2] == [record["steps"], per_epoch]
    assert record["steps"] == per_epoch
    assert numbers(said["intervals"]) == [10, 4]
    assert {0.25, 0.0, record["parameters"]} <= {*numbers(said["model"])}
    assert numbers(said["memory"]) == [pytest.approx(record["estimated_memory_bytes"] / 2**20, abs=0.05)]
    kept, each, all_ = numbers(said["checkpoints"])
    sizes = [path.stat().st_size / 2**20 for path in directory.glob("checkpoints/*.ckpt")]
    assert kept == len(sizes) == 3
    assert each == pytest.approx(max(sizes), abs=0.15) and all_ == pytest.approx(sum(sizes), abs=0.3)
    found = re.match(r"([\d.]+) .* about ([\de.+]+) in all", said["operations"])
    million, all_ = map(float, found.groups())
    assert all_ == pytest.approx(record["training_flops"], rel=5e-2)
    assert million * 1e6 * record["tokens_seen"] == pytest.approx(record["training_flops"], rel=0.05)
    whole = record["training_flops"] / RATE
    assert whole > 60 and seconds(said["time"]) == pytest.approx([whole / FAST, whole / SLOW], abs=1)
    assert said["run"] == str(directory)


@pytest.mark.slow
def test_a_whole_run_of_several_epochs_is_counted(command):
    said = start_of(
        command(*TINY, "trainer.max_epochs=2", "trainer.limit_train_batches=4", "callbacks.best_checkpoint=null")
    )
    assert numbers(said["length"]) == [8, 4]
    assert numbers(said["checkpoints"])[0] == 2


MEMORY = TrainingMemory(weights=1, gradients=1, optimizer=1, buffers=1, step=1, update=1, total=8 * 2**30)


def test_a_step_that_does_not_fit_the_card_is_refused_with_the_figures():
    needed = MEMORY.on_card()
    check_memory(MEMORY, needed, 24 * 2**30, 64)
    with pytest.raises(Exception, match="data.batch_size=64: training needs") as refused:
        check_memory(MEMORY, needed - 1, 24 * 2**30, 64)
    text = str(refused.value)
    assert f"{needed / 2**30:.2f} GiB, the GPU has {(needed - 1) / 2**30:.2f} GiB free of 24.00" in text
    assert needed > MEMORY.total + CUDA_CONTEXT and len(text.splitlines()) == 2


def test_only_a_gpu_is_asked_for_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 2) if device.type == "cuda" else pytest.fail())
    assert free_memory(torch.device("cuda", 0)) == (1, 2)
    assert free_memory(torch.device("cpu")) is None


@pytest.mark.slow
def test_a_run_that_does_not_fit_leaves_nothing_behind(command, run_directories, monkeypatch):
    monkeypatch.setattr("frontpage.training.plan.free_memory", lambda device: (2**20, 24 * 2**30))
    outcome = command(*TINY)
    assert outcome.status == 2 and outcome.stderr.startswith("data.batch_size=8: training needs an estimated 0.6")
    assert len(outcome.stderr.splitlines()) == 2
    assert run_directories() == []
