"""Promises of runs of several tasks: they train, resume, are reported, evaluated and searched like any other."""

import csv
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from parallel_corpora import references, verses
from parallel_runs import FOUR, SMALL
from programs import record_of, run_script, weights_of
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at
from tiny import ROOT, options

from frontpage.analysis.table import collect_runs
from frontpage.command.endings import Interrupted
from frontpage.data.packing import IGNORED
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.evaluation.declared import measured_always
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.modules import DeepNarrowModule
from frontpage.runs.reopen import load_run
from frontpage.sweeps.storage import open_storage

HEADLINES = {
    "val/nats_per_char",
    "val/coherence/accuracy",
    "val/coherence/auroc",
    "val/cross_reference/accuracy",
    "val/cross_reference/mrr",
    "val/cross_reference/recall_at_10",
    "val/paraphrase/accuracy",
    "val/paraphrase/auroc",
    "val/paraphrase/recall_at_1",
}


@pytest.fixture
def run(command, run_directories):
    """run(*overrides) trains the smallest run of several tasks and gives its directory and what it printed."""

    def train(*overrides, status=0):
        outcome = command(*SMALL, *overrides)
        assert outcome.status == status, outcome.stdout[-3000:] + outcome.stderr
        return (run_directories()[-1] if status == 0 else None), outcome

    return train


@pytest.mark.slow
def test_a_run_records_every_metric_of_every_task_and_language(run):
    directory, outcome = run("trainer.max_steps=40", "val_interval=20", "log_interval=1")
    record = record_of(directory)
    final = record["metrics"]["final"]
    assert HEADLINES <= final.keys() and final["val/coverage"] == 1
    for name in (
        "nats_per_char",
        "bits_per_byte",
        "coherence/accuracy",
        "cross_reference/accuracy",
        "paraphrase/accuracy",
    ):
        alone = name in ("nats_per_char", "bits_per_byte")
        assert {f"val/{one}/{name}" if alone else f"val/{name}/{one}" for one in ("aa", "bb")} <= final.keys()
    assert all(final[f"val/{name}/chance"] == 0.5 for name in FOUR[1:])
    assert all(f"{name}_se" in final for name in HEADLINES)
    losses = {name: final["val/loss" if name == "lm" else f"val/{name}/loss"] for name in FOUR}
    weights = {"lm": 0.7, "coherence": 0.15, "cross_reference": 0.075, "paraphrase": 0.075}
    scales = {name: 1.0 if name == "lm" else 10.0 for name in FOUR}
    mixture = sum(weights[name] * scales[name] * losses[name] for name in FOUR)
    assert final["val/loss_mixture"] == pytest.approx(mixture)
    assert [event["step"] for event in events_of(directory) if event["event"] == "validation_step"] == [20, 40]
    assert record["data"]["examples_a_batch"] == {"coherence": 5, "cross_reference": 3, "paraphrase": 5}
    for said in ("chance 0.5000", "at best 0.98", "floor of the grammar", "characters alone", "book"):
        assert said in outcome.stdout
    with (directory / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    names = [name for row in rows for name in FOUR if row[f"train/{name}/loss"]]
    assert {name: names.count(name) for name in FOUR} == {
        "lm": 28,
        "coherence": 6,
        "cross_reference": 3,
        "paraphrase": 3,
    }
    for row, name in zip(rows, names, strict=True):
        assert float(row["train/loss"]) == pytest.approx(scales[name] * float(row[f"train/{name}/loss"]), rel=1e-6)


@pytest.mark.parametrize("stopped_at", [7, pytest.param(22, marks=pytest.mark.slow)])
def test_a_run_that_breaks_off_within_a_cycle_of_tasks_ends_as_if_it_had_not(run, command, monkeypatch, stopped_at):
    settings = ("trainer.max_steps=30", "trainer.accumulate_grad_batches=2", "val_interval=15", "log_interval=1")
    whole, _ = run(*settings)
    with monkeypatch.context() as patch:
        stop_at(patch, stopped_at, False, Interrupted("stopped"))
        assert command(*SMALL, *settings).status != 0
    broken = next(path for path in whole.parent.iterdir() if path != whole)
    outcome = command(*SMALL, *settings, "ckpt_path=last", f"hydra.run.dir={broken}")
    assert outcome.status == 0, outcome.stderr
    for name in ("last", "best"):
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            assert same(checkpoint_of(whole, name)[part], checkpoint_of(broken, name)[part]), (name, part)
    assert losses_of(whole) == losses_of(broken)
    assert record_of(whole)["metrics"]["best"] == record_of(broken)["metrics"]["best"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", ["tasks.coherence.weight=0.5", "data.task_order=iid", "data.batch_policy=constant_examples"]
)
def test_a_run_that_goes_on_keeps_its_tasks(run, command, changed):
    directory, _ = run("trainer.max_steps=4", "val_interval=2")
    outcome = command(*SMALL, "trainer.max_steps=8", "ckpt_path=last", f"hydra.run.dir={directory}", changed)
    key = changed.partition("=")[0].rpartition(".")[2]
    assert outcome.status == 2 and key in outcome.stderr and "keeps these" in outcome.stderr, outcome.stderr
    assert record_of(directory)["steps"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("tasks", options("tasks"))
def test_every_option_of_tasks_trains(run, tasks):
    alone = tasks if tasks in FOUR[1:] else None
    follows = [f"objective=val/{alone}/accuracy", "callbacks.best_checkpoint.mode=max"] if alone else []
    directory, _ = run(f"tasks={tasks}", *follows, "trainer.max_steps=3", "val_interval=3")
    final = record_of(directory)["metrics"]["final"]
    assert math.isfinite(final["val/loss"]) and final["val/coverage"] == 1
    assert record_of(directory)["headline"]["name"] == (f"val/{alone}/accuracy" if alone else "val/nats_per_char")


@pytest.mark.slow
def test_a_task_without_a_weight_needs_no_examples(run):
    directory, _ = run(
        "data.languages=1", "tasks.paraphrase.weight=0", "trainer.max_steps=3", "val_interval=3", "model.n_layer=1"
    )
    record = record_of(directory)
    final, declared = record["metrics"]["final"], DeepNarrowModule.declared_metrics(record["config"]["model"])
    assert "val/coherence/accuracy" in final and "val/paraphrase/accuracy" not in final and "val/loss_mixture" in final
    assert {*measured_always(declared)} <= final.keys()


@pytest.mark.slow
def test_it_is_listed_drawn_evaluated_and_reopened(run, tmp_path, capfd):
    directory, _ = run("trainer.max_steps=3", "val_interval=3")
    (row,) = collect_runs(directory)
    listed = run_script(capfd, "collect_runs", directory).stdout
    assert all(f"val/{name}/accuracy" in listed for name in FOUR[1:]) and row["val/coherence/accuracy"] is not None
    page = tmp_path / "page.html"
    assert run_script(capfd, "report", directory, "--output", page).status == 0
    text = page.read_text()
    assert all(name in text for name in HEADLINES)
    said = run_script(capfd, "evaluate", directory, "--checkpoint", "last", "--json", tmp_path / "scores.json")
    assert said.status == 0, said.stderr
    scores, final = json.loads((tmp_path / "scores.json").read_text()), record_of(directory)["metrics"]["final"]
    for name in HEADLINES:
        assert scores["metrics"][name] == pytest.approx(final[name], rel=1e-4), name
    assert scores["chance"]["val/coherence/accuracy"] == 0.5 and "by chance" in said.stdout
    assert scores["chance"] == record_of(directory)["metrics"]["chance"]
    assert f"{final['val/coherence/accuracy']:.4f} (chance 0.5000)" in text
    assert scores["floor"]["floor/nats_per_char"] < scores["metrics"]["val/nats_per_char"] < 10 * scores["characters"]
    _, module = load_run(directory)
    assert {*module.net.heads} == {"language", *FOUR[1:]}
    assert run_script(capfd, "generate", directory, "--num", "1", "--max-tokens", "5").status == 0
    assert run_script(capfd, "score", directory, "a verse").status == 0


@pytest.mark.slow
def test_of_another_corpus_what_it_has_no_examples_of_is_left_out(command, run_directories, tmp_path, capfd):
    words = [f"{place} {end}" for place in range(120) for end in ("begins", "goes on", "ends")]
    (tmp_path / "linked").mkdir()
    rows = [(1 + place // 36, 1 + place % 36 // 6, 1 + place % 6, "en_a", one) for place, one in enumerate(words)]
    linked = verses(tmp_path / "linked", rows)
    references(linked, [(*rows[place][:3], *rows[place + 9][:3], 5) for place in range(0, 340, 2)])
    sizes = ["data.validation_examples=4", "tokenizer.vocab_size=300", "trainer.max_steps=2"]
    sizes += ["tasks.paraphrase.weight=0", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    outcome = command("experiment=multitask_debug", "data=parallel", f"data.root={linked}", *sizes, "val_interval=2")
    assert outcome.status == 0, outcome.stdout[-3000:] + outcome.stderr
    directory = run_directories()[-1]
    (tmp_path / "lines.tsv").write_text("en\n" + "".join(f"{line}\n" for line in words), encoding="utf-8")
    ours = run_script(capfd, "evaluate", directory, f"data.root={linked}")
    assert ours.status == 0 and "val/cross_reference/accuracy" in ours.stdout, ours.stderr
    other = run_script(capfd, "evaluate", directory, f"data.root={tmp_path}/lines.tsv")
    assert other.status == 0, other.stderr
    assert "val/coherence/accuracy" in other.stdout and "val/cross_reference" not in other.stdout
    assert "cross_reference is not measured: tasks.cross_reference" in other.stdout + other.stderr


@pytest.mark.slow
def test_a_model_that_sees_what_it_should_predict_is_below_the_floor(run, monkeypatch):
    """Its loss would be the pride of any table: the floor tells that it cannot be."""

    def seeing(self, batch):
        scored = batch.targets != IGNORED
        return torch.full((int(scored.sum()),), 0.01), batch.titles[scored]  # nats of tokens that it has looked up

    monkeypatch.setattr(LanguageModule, "score", seeing)
    _, outcome = run("trainer.max_steps=2", "val_interval=2", "tasks=lm_only")
    assert "no model can be below it" in outcome.stdout


@pytest.mark.slow
def test_a_model_that_has_trained_on_the_held_out_books_is_below_the_floor(run, monkeypatch):
    setup = ParallelData.setup

    def leaking(self, stage=None):
        setup(self, stage)
        self.train = self.validation

    settings = ("tasks=lm_only", "data.chapters=1", "data.verses=3", "model.d_model=128", "optimizer.lr=1e-2")
    length = ("trainer.max_steps=300", "val_interval=300", "callbacks.sample_titles=null")
    _, honest = run(*settings, *length)
    monkeypatch.setattr(ParallelData, "setup", leaking)
    _, outcome = run(*settings, *length)
    assert "no model can be below it" in outcome.stdout and "no model can be below it" not in honest.stdout


MISTAKES = {
    "model=gpt": "tasks=coherence cross_reference paraphrase: lm_only, since GPTModule learns the next token alone",
    "tasks.coherence.weight=-1": "tasks.coherence.weight=-1: must be a number or a list, at least 0; a list",
    "tasks.lm.weight=[[5,1.0]]": "tasks.lm.weight=[[5, 1.0]]: must be",
    "tasks.lm.wait=1": "tasks.lm.wait",
    "tasks=five": "tasks=five",
    "tasks=coherence": "of tasks.lm; objective=val/coherence/accuracy callbacks.best_checkpoint.mode=max",
    "tasks=paraphrase objective=val/paraphrase/accuracy callbacks.best_checkpoint.mode=max data.corruption=word": (
        "data.corruption=word: none: words are hidden from the language task alone"
    ),
    "tasks.lm.weight=0": "objective=val/nats_per_char: needs a weight of tasks.lm",
    "tasks=paraphrase objective=val/paraphrase/accuracy callbacks.best_checkpoint.mode=max model/technique=r_drop": (
        "model.technique=r_drop: null: techniques act on the language task"
    ),
    "data.task_order=random": "data.task_order=random: must be one of stratified iid",
    "data.batch_policy=big": "data.batch_policy=big: must be one of constant_tokens constant_examples",
    "model.pooling=max": "model.pooling=max: must be one of mean last",
    "tasks=lm_only tasks.lm.weight=[[0,1],[0.5,0]]": "a course over whole updates",
    "tasks=lm_only tasks.lm.weight=0": "no task has a weight",
    "data=bible": "data.root=null: the folder or file of a parallel corpus",
    "data=bible data.root=nowhere": "data.root=nowhere: no such folder or file",
    "objective=val/coherence/precision": "objective=val/coherence/precision: must be one of",
    "objective=val/coherence/auroc tasks.coherence.weight=0": "objective=val/coherence/auroc: must be one of",
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_told_in_a_line(overrides, command, run_directories):
    base = [
        one
        for one in SMALL
        if not (
            overrides.startswith("data=bible")
            and one.startswith(("data.books", "data.chap", "data.verses", "data.lang"))
        )
    ]
    outcome = command(*base, *overrides.split())
    assert outcome.status == 2 and MISTAKES[overrides] in outcome.stderr, outcome.stderr
    assert outcome.stderr.count("\n") <= 3 and run_directories() == []


@pytest.fixture
def run_together(tmp_path):
    """run_together(directory, *overrides) trains in processes of their own."""

    def train(directory, *overrides):
        words = [
            sys.executable,
            "train.py",
            *overrides,
            f"hydra.run.dir={directory}",
            f"paths.cache_dir={tmp_path}/cache",
        ]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr

    return train


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one(tmp_path, run_together):
    one, two = (tmp_path / name for name in ("one", "two"))
    settings = (*SMALL, "tasks=lm_only", "trainer.max_steps=6", "val_interval=3", "log_interval=1")
    run_together(one, *settings, "data.batch_size=4")
    run_together(two, *settings, "data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp")
    expected, got = weights_of(one), weights_of(two)
    assert all(torch.allclose(expected[name], got[name], atol=1e-4) for name in expected)
    final = [record_of(path)["metrics"]["final"] for path in (one, two)]
    assert final[0]["val/loss"] == pytest.approx(final[1]["val/loss"], rel=1e-6) and final[1]["val/coverage"] == 1


@pytest.mark.slow
def test_two_processes_train_all_tasks(tmp_path, run_together):
    run_together(
        tmp_path / "two", *SMALL, "trainer.max_steps=40", "val_interval=20", "log_interval=1",
        "trainer.devices=2", "trainer.strategy=ddp",
    )  # fmt: skip
    record = record_of(tmp_path / "two")
    assert record["status"] == "finished" and HEADLINES <= record["metrics"]["final"].keys()


@pytest.mark.slow
def test_a_run_that_is_killed_within_a_cycle_of_tasks_ends_as_if_it_had_not(tmp_path, run_together):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = (*SMALL, "trainer.max_steps=120", "val_interval=60", "save_interval=7", "log_interval=1")
    run_together(whole, *settings)
    places = (f"hydra.run.dir={killed}", f"paths.cache_dir={tmp_path}/cache")
    process = subprocess.Popen(
        [sys.executable, "train.py", *settings, *places],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = killed / "checkpoints" / "last.ckpt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL and 0 < checkpoint_of(killed)["global_step"] < 120
    run_together(killed, *settings, "ckpt_path=last")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(checkpoint_of(whole)[part], checkpoint_of(killed)[part]), part
    assert losses_of(whole) == losses_of(killed)


@pytest.mark.slow
def test_it_is_searched_over_and_its_winner_becomes_an_experiment(command, tmp_path, monkeypatch, capfd):
    search = ["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=s", "hydra/sweeper/sampler=grid"]
    search += [
        "optimizer.lr=choice(1e-3,1e-2)",
        "trainer.max_steps=3",
        "val_interval=3",
        "callbacks.sample_titles=null",
    ]
    search += ["objective=val/cross_reference/mrr", "callbacks.best_checkpoint.mode=max"]
    outcome = command(*SMALL[:5], "trainer.precision=32-true", *search, "hydra.sweeper.direction=maximize")
    assert outcome.status == 0, outcome.stdout[-2000:] + outcome.stderr
    journal = tmp_path / "logs/sweeps/s/study.journal"
    study = optuna.load_study(study_name="s", storage=open_storage(str(journal)))
    best = record_of(Path(study.best_trial.user_attrs["directory"]))["metrics"]["final"]
    assert study.best_value == best["val/cross_reference/mrr"]
    experiments = tmp_path / "mine" / "experiment"
    experiments.mkdir(parents=True)
    monkeypatch.setattr("frontpage.sweeps.promotion.EXPERIMENTS", experiments)
    ended = run_script(capfd, "promote", journal)
    assert ended.status == 0, ended.stderr
    text = (experiments / "s_best.yaml").read_text()
    assert "val/cross_reference/mrr" in text and f"  lr: {study.best_params['optimizer.lr']}" in text
    page = tmp_path / "search.html"
    assert run_script(capfd, "sweep_report", journal, "--output", page).status == 0
    assert "val/cross_reference/mrr" in page.read_text()
