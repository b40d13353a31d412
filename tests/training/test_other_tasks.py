"""Promises of the seams: a task that the package does not know (tests/shared/toy_tasks.py) is a run like any other."""

import math
import re
from pathlib import Path

import optuna
import pytest
import torch
import toy_tasks
from programs import record_of, run_script
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at
from tiny import ROOT

from frontpage.analysis.table import collect_runs, ranked
from frontpage.command.endings import Interrupted
from frontpage.evaluation.declared import HIGHER, LOWER, Metric
from frontpage.runs.reopen import load_run
from frontpage.sweeps.storage import open_storage

FOLDER = ROOT / "tests" / "shared" / "toy_task_configs"
TOY = (f"--config-dir={FOLDER}", "experiment=toy")
HEADLINE = "val/toy/accuracy"


@pytest.fixture
def toy(command, run_directories):
    """toy(*overrides) trains the toy and gives its directory; with `status` what it said instead."""

    def run(*overrides: str, status: int = 0):
        outcome = command(*TOY, *overrides)
        assert outcome.status == status, outcome.stdout[-3000:] + outcome.stderr
        return run_directories()[-1] if status == 0 else outcome

    return run


@pytest.mark.slow
def test_it_trains_validates_and_is_recorded_with_its_own_headline(toy):
    run = toy()
    record = record_of(run)
    final, best = record["metrics"]["final"], record["metrics"]["best"]
    names = {HEADLINE, f"{HEADLINE}_se", "val/loss", "val/toy/loss"}
    assert {name for name in final if name.startswith("val/")} == names and final["train/toy/kind_weight"] == 1
    assert best[HEADLINE] >= final[HEADLINE]
    assert record["headline"] == {
        "name": HEADLINE, "better": "higher", "error": f"{HEADLINE}_se", "unit": "right kinds", "needs": None,
    }  # fmt: skip
    said = [event for event in events_of(run) if event["event"] == "validation_step"]
    assert [one["step"] for one in said] == [3, 6, 9]
    assert said[-1]["loss"] == said[-1]["val/loss"] == final["val/loss"]
    _, module = load_run(run, trusted=[run])
    assert {*module.net.heads} == {"language", "kind"} and module.net.heads["kind"].weight.shape == (2, 32)
    embedded = module.net.token_embedding.weight.numel() + module.net.position_table.numel()
    assert record["non_embedding_parameters"] == record["parameters"] - embedded
    assert record["estimated_memory_bytes"] > 0


@pytest.mark.slow
def test_the_best_checkpoint_is_that_of_the_highest_headline(toy):
    run = toy("val_interval=1", "optimizer.lr=0.1", "trainer.max_steps=6", "callbacks.sample_titles=null")
    values = [event[HEADLINE] for event in events_of(run) if event["event"] == "validation_step"]
    highest = max(values)
    assert highest > min(values)
    newest = len(values) - values[::-1].index(highest)  # of equal ones
    assert checkpoint_of(run, "best")["global_step"] == record_of(run)["metrics"]["best"]["step"] == newest
    assert record_of(run)["metrics"]["best"][HEADLINE] == highest


@pytest.mark.slow
def test_a_run_that_breaks_off_ends_as_if_it_had_not(toy, command, monkeypatch):
    whole = toy()
    with monkeypatch.context() as patch:
        stop_at(patch, 5, False, Interrupted("stopped"))
        assert command(*TOY).status != 0
    run = next(path for path in whole.parent.iterdir() if path != whole)
    assert record_of(run)["status"] == "interrupted"
    outcome = command(*TOY, "ckpt_path=last", f"hydra.run.dir={run}")
    assert outcome.status == 0, outcome.stderr
    for name in ("last", "best"):
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            assert same(checkpoint_of(whole, name)[part], checkpoint_of(run, name)[part]), (name, part)
    assert losses_of(whole) == losses_of(run)
    assert record_of(whole)["metrics"]["best"] == record_of(run)["metrics"]["best"]
    (resumed,) = (event for event in events_of(run) if event["event"] == "resumed")
    assert all(part["equal"] for part in resumed["parts"].values())


@pytest.mark.slow
def test_it_is_listed_and_drawn_beside_runs_of_titles(toy, tmp_path, capfd):
    run = toy("trainer.max_steps=3")
    (row,) = collect_runs(run)
    assert (row["headline"], row["headline_better"]) == (HEADLINE, "higher") and 0 <= row[HEADLINE] <= 1
    listed = run_script(capfd, "collect_runs", run)
    assert listed.stdout.split("\n")[0].split()[:4] == ["run", "status", HEADLINE, f"{HEADLINE}_se"]
    page = tmp_path / "page.html"
    assert run_script(capfd, "report", run, "--output", page).status == 0
    text = page.read_text()
    assert f'aria-label="{HEADLINE} of every run"' in text and f"<option selected>{HEADLINE}</option>" in text
    assert f"<b>{row[HEADLINE]:.4f} ± {row[f'{HEADLINE}_se']:.4f}</b>" in text and "Higher is better." in text


def test_runs_are_ranked_by_their_own_headlines():
    def row(name, headline, better, value):
        return {"directory": name, "headline": headline, "headline_better": better, headline: value}

    rows = [row("a", "val/a", HIGHER, 0.25), row("b", "val/b", LOWER, 2.0), row("c", "val/a", HIGHER, 0.5)]
    rows += [row("d", "val/b", LOWER, 1.0), row("e", "val/b", LOWER, math.nan), row("f", "val/a", HIGHER, 0.75)]
    assert "".join(one["directory"] for one in ranked(rows)) == "fcadbe"
    assert "".join(one["directory"] for one in ranked(rows, worst_first=True)) == "acfbde"


def test_a_metric_knows_which_value_is_better():
    assert Metric("x").as_good(1, 2) and not Metric("x").as_good(2, 1) and Metric("x").as_good(1, 1)
    assert Metric("x", HIGHER).as_good(2, 1) and not Metric("x", HIGHER).as_good(1, 2)
    assert not Metric("x").as_good(math.nan, 1) and not Metric("x", HIGHER).as_good(math.nan, 1)


MISTAKES = {
    "objective=val/nats_per_char": ["objective=val/nats_per_char", HEADLINE, "val/toy/loss"],
    "model.kind_weight=0.0 objective=val/toy/loss": ["objective=val/toy/loss", HEADLINE],
    "callbacks.best_checkpoint.mode=min": ["callbacks.best_checkpoint.mode=min", "max", "higher"],
    "callbacks.best_checkpoint.monitor=val/toy/accuracies": ["callbacks.best_checkpoint.monitor", HEADLINE],
    "test=true": ["data.test_path=null"],
}


@pytest.mark.parametrize("overrides", MISTAKES)
def test_what_its_module_does_not_declare_is_refused(overrides, toy, run_directories):
    outcome = toy(*overrides.split(), status=2)
    assert all(words in outcome.stderr for words in MISTAKES[overrides]), outcome.stderr
    assert outcome.stderr.count("\n") <= 3 and run_directories() == []


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_the_sentence(command, monkeypatch):
    right = toy_tasks.ToyModule.loss_of

    def broken(self, batch):
        data = self.trainer.datamodule
        bad = torch.tensor(data.tokenizer.encode(data.training_texts()[0]))
        found = (batch.targets[:, : len(bad)] == bad).all(-1).any()
        return right(self, batch) * (math.nan if found else 1.0)

    monkeypatch.setattr(toy_tasks.ToyModule, "loss_of", broken)
    outcome = command(*TOY, "callbacks.sample_titles=null")
    named = "it is row [0-7] of batch [0-5] of epoch 0, such as 'cat sings there'"
    assert outcome.status == 1 and re.search(named, outcome.stderr)


@pytest.mark.slow
def test_a_module_that_does_not_say_what_its_loss_holds_trains_without_an_estimate(toy, monkeypatch):
    monkeypatch.delattr(toy_tasks.ToyModule, "planned_loss")
    outcome = toy("trainer.fit_batch=true", status=2)
    assert "trainer.fit_batch=true" in outcome.stderr and "ToyModule" in outcome.stderr
    run = toy("trainer.max_steps=1", "callbacks.sample_titles=null")
    assert record_of(run)["estimated_memory_bytes"] is None
    assert any(one.startswith("no memory estimate") for one in record_of(run)["notices"])


@pytest.mark.slow
def test_a_module_that_writes_no_text_invents_none_and_says_so(toy, monkeypatch):
    monkeypatch.setattr(toy_tasks.ToyModule, "writes_text", False)
    run = toy("trainer.max_steps=1")
    assert any("ToyModule writes no text" in one for one in record_of(run)["notices"])
    assert not (run / "samples.txt").exists()


@pytest.mark.slow
def test_it_is_searched_over_and_its_winner_becomes_an_experiment(command, toy, tmp_path, monkeypatch, capfd):
    search = ["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=s", "hydra/sweeper/sampler=grid"]
    search += ["optimizer.lr=choice(1e-2,1e-1)", "trainer.max_steps=3", "callbacks.sample_titles=null"]
    outcome = command(*TOY, *search)
    assert outcome.status == 2 and "hydra.sweeper.direction=minimize" in outcome.stderr, outcome.stderr
    outcome = command(*TOY, *search, "hydra.sweeper.direction=maximize")
    assert outcome.status == 0, outcome.stdout[-2000:] + outcome.stderr
    journal = tmp_path / "logs/sweeps/s/study.journal"
    study = optuna.load_study(study_name="s", storage=open_storage(str(journal)))
    values = [record_of(Path(one.user_attrs["directory"]))["metrics"]["final"][HEADLINE] for one in study.trials]
    assert [one.value for one in study.trials] == values and study.best_value == max(values)

    experiments = tmp_path / "mine" / "experiment"
    experiments.mkdir(parents=True)
    monkeypatch.setattr("frontpage.sweeps.promotion.EXPERIMENTS", experiments)
    lost = run_script(capfd, "promote", journal)
    assert lost.status == 2 and "toy" in lost.stderr and "--config-dir" in lost.stderr, lost
    ended = run_script(capfd, "promote", journal, "--config-dir", FOLDER)
    assert ended.status == 0, ended.stderr
    text = (experiments / "s_best.yaml").read_text()
    assert f"python train.py --config-dir={FOLDER} experiment=s_best" in text
    assert f"Measured: {HEADLINE} {max(values):.4f}" in " ".join(text.replace("#", "").split())
    assert f"  lr: {study.best_params['optimizer.lr']}" in text and "  - toy\n" in text
