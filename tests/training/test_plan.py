"""Promises of what a run says before it trains: the figures come true, and what cannot fit is refused."""

import json
import re

import pytest
import torch
from tiny import TINY

from frontpage.training.memory.estimate import CUDA_CONTEXT, TrainingMemory
from frontpage.training.plan import check_memory, free_memory

NAMES = "device data model attention update length intervals memory checkpoints time run".split()


def start_of(outcome):
    """The lines before the first step, by name."""
    lines = dict(re.findall(r"^(\w+): +(.*)$", outcome.stdout, re.MULTILINE))
    return {name: lines[name] for name in NAMES}


def test_the_figures_at_the_start_come_true(command, run_directories):
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
    assert said["update"] == "16 rows of 32, 512 tokens (batch 8 x 2 accumulated)"
    per_epoch = -(-record["data"]["train_tokens"] // (32 * 8)) + 1 >> 1
    assert said["length"] == f"{record['steps']} updates, {per_epoch} an epoch, at most 00:01:00:00"
    assert record["steps"] == per_epoch
    assert said["intervals"] == "log every 10 updates, validate every 4 updates, save at validations"
    assert "dropout 0.25, of attention 0" in said["model"] and f"{record['parameters']:,} parameters" in said["model"]
    assert said["memory"] == f"{record['estimated_memory_bytes'] / 2**20:.1f} MiB estimated"
    kept, each, all_ = re.fullmatch(r"(\d+) kept, (\S+) MiB each, (\S+) MiB in all", said["checkpoints"]).groups()
    sizes = [path.stat().st_size / 2**20 for path in directory.glob("checkpoints/*.ckpt")]
    assert int(kept) == len(sizes) == 3
    assert float(each) == pytest.approx(max(sizes), abs=0.15) and float(all_) == pytest.approx(sum(sizes), abs=0.3)
    assert re.fullmatch(
        r"roughly \d\d:\d\d to \d\d:\d\d and the validations, at .* of the measured matmul rate", said["time"]
    )
    assert said["run"] == str(directory)


def test_a_whole_run_of_several_epochs_is_counted(command):
    said = start_of(
        command(*TINY, "trainer.max_epochs=2", "trainer.limit_train_batches=4", "callbacks.best_checkpoint=null")
    )
    assert said["length"] == "8 updates, 4 an epoch"
    assert said["checkpoints"].startswith("2 kept")


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


def test_a_run_that_does_not_fit_leaves_nothing_behind(command, run_directories, monkeypatch):
    monkeypatch.setattr("frontpage.training.plan.free_memory", lambda device: (2**20, 24 * 2**30))
    outcome = command(*TINY)
    assert outcome.status == 2 and outcome.stderr.startswith("data.batch_size=8: training needs an estimated 0.6")
    assert len(outcome.stderr.splitlines()) == 2
    assert run_directories() == []
