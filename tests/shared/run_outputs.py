"""What the tests of this part share."""

import csv
import json

import torch

from frontpage.runs.checkpoint_file import read


def losses_of(directory):
    """The training and validation losses of metrics.csv, as text, in order."""
    with (directory / "metrics.csv").open() as file:
        return [(row["step"], row.get("train/loss"), row.get("val/loss")) for row in csv.DictReader(file)]


def events_of(directory):
    return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


def stop_at(monkeypatch, step, validating, error):
    """Make the run break off at an update, in training or in the middle of a validation."""
    import frontpage.training.callbacks.stop_on_signal as module

    def stop(self, trainer):
        if trainer.global_step >= step and trainer.validating == validating:
            raise error

    monkeypatch.setattr(module.StopOnSignal, "_stop_if_asked", stop)


def checkpoint_of(directory, name="last"):
    return read(directory / "checkpoints" / f"{name}.ckpt", mmap=False)


def same(one, other):
    """Whether two nested states agree, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def score_validations(monkeypatch, scores):
    """Let the validation of each update have one of these scores in place of its own."""
    from frontpage.training.callbacks.best_checkpoint import BestCheckpoint

    decide = BestCheckpoint.on_validation_end

    def with_score(self, trainer, pl_module):
        pl_module.metrics["val/nats_per_char"] = scores[trainer.global_step]
        decide(self, trainer, pl_module)

    monkeypatch.setattr(BestCheckpoint, "on_validation_end", with_score)


def offline_runs(directory):
    """The files of a run that Weights & Biases has not been sent yet."""
    return sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))
