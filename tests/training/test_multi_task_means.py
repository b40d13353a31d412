"""Promises of what runs of several tasks keep beside their losses: means of each task, averages, a broken example."""

import csv

import pytest
import torch
from parallel_runs import FOUR, SMALL
from programs import record_of
from run_outputs import checkpoint_of, stop_at

from frontpage.command.endings import Interrupted
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.modules import DeepNarrowModule

MEANS = ("trainer.max_steps=14", "log_interval=7", "val_interval=4", "model.dropout=0.1")


def means_of(directory):
    """The logged mean losses of the tasks, row by row."""
    names = [f"train/{name}/loss" for name in FOUR]
    with (directory / "metrics.csv").open() as file:
        return [[row.get(name) for name in names] for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.slow
def test_a_validation_takes_nothing_from_the_mean_losses_of_tasks_and_a_resumed_run_has_the_same(
    command, monkeypatch, tmp_path
):
    added, usual = [], LanguageModule.training_step
    runs = {name: tmp_path / name for name in ("whole", "often", "broken")}

    def counted(self, batch, batch_idx):
        loss = usual(self, batch, batch_idx)
        added.append((self.newest_task[0], float(self.newest_task[1])))
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModule, "training_step", counted)
        assert command(*SMALL, *MEANS, f"hydra.run.dir={runs['whole']}").status == 0
    expected = []
    for losses in (added[:7], added[7:14]):
        by_task = {name: [loss for task, loss in losses if task == name] for name in FOUR}
        expected.append([sum(one) / len(one) if one else None for one in by_task.values()])
    found = [[float(mean) if mean else None for mean in row] for row in means_of(runs["whole"])]
    assert found == [[mean and pytest.approx(mean, rel=1e-5) for mean in row] for row in expected]

    with monkeypatch.context() as patch:
        stop_at(patch, 6, False, Interrupted("stopped"))
        assert command(*SMALL, *MEANS, f"hydra.run.dir={runs['broken']}").status == 130
    assert command(*SMALL, *MEANS, f"hydra.run.dir={runs['broken']}", "ckpt_path=last").status == 0
    assert means_of(runs["broken"]) == means_of(runs["whole"])

    assert command(*SMALL, *MEANS, "val_interval=7", f"hydra.run.dir={runs['often']}").status == 0
    final = record_of(runs["often"])["metrics"]["final"]
    trained = {task for task, _ in added}
    assert {name for name in FOUR if f"train/{name}/loss" in final} == trained and len(trained) > 1


@pytest.mark.slow
def test_running_means_of_heads_are_averaged_with_the_weights(command, tmp_path):
    average = ("callbacks=final_average", "callbacks.final_average.start=0", "callbacks.final_average.every=1")
    kept = ("save_interval=1", "callbacks.last_checkpoint.keep=99", "trainer.max_steps=12")
    assert command(*SMALL, *average, *kept, f"hydra.run.dir={tmp_path}/run").status == 0
    saved = [checkpoint_of(tmp_path / "run", f"step-{update:06}") for update in range(1, 12)]
    saved.append(checkpoint_of(tmp_path / "run"))
    names = [name for name in saved[-1]["state_dict"] if name.endswith(("running_mean", "running_var"))]
    assert len(names) == 4
    for name in names:
        trained = [one["current_model_state"][name].double() for one in saved]
        torch.testing.assert_close(saved[-1]["state_dict"][name].double(), sum(trained) / 12, rtol=1e-4, atol=1e-6)
        assert not torch.equal(saved[-1]["state_dict"][name], saved[-1]["current_model_state"][name])


@pytest.mark.slow
def test_a_broken_example_is_named_where_examples_are_compared(command, monkeypatch):
    """A cross reference whose vectors are no numbers, in a batch whose loss is over all of it."""
    usual, chosen = DeepNarrowModule.vectors, []

    def broken(self, batch):
        anchors = batch.tokens[:, 0]
        if not chosen:
            chosen.append(anchors[1].clone())
        return usual(self, batch) * torch.where((anchors == chosen[0]).all(-1), torch.nan, 1.0)[:, None, None]

    monkeypatch.setattr(DeepNarrowModule, "vectors", broken)
    follows = ("objective=val/cross_reference/accuracy", "callbacks.best_checkpoint.mode=max")
    outcome = command(*SMALL, "tasks=cross_reference", *follows, "trainer.max_steps=2")
    assert outcome.status == 1 and "it is row 1 of batch 0 of epoch 0" in outcome.stderr, outcome.stderr
