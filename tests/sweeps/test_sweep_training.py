"""Promises of a search whose trials are runs of train.py: pruned, failed, continued, and what is left of each."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from messages import check_message, contents
from tiny import ROOT, TINY

from frontpage.sweeps.storage import open_storage

SWEEP = (*TINY, "--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=s", "hydra/sweeper/pruner=none")


def slow(*values):
    """A case of a slow test."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def sweep(command, tmp_path):
    """sweep(*overrides) runs a tiny search; its outcome and its study."""

    def run(*overrides: str, status: int = 0):
        outcome = command(*SWEEP, *overrides)
        assert outcome.status == status, outcome.stdout[-3000:] + outcome.stderr
        return outcome, study(tmp_path)

    return run


def study(folder, name="s"):
    journal = folder / f"logs/sweeps/{name}/study.journal"
    return optuna.load_study(study_name=name, storage=open_storage(str(journal))) if journal.exists() else None


def record(trial):
    with open(f"{trial.user_attrs['directory']}/run.json") as file:
        return json.load(file)


@pytest.mark.slow
def test_a_search_leaves_runs_and_a_short_console(sweep):
    outcome, found = sweep("hydra/sweeper/sampler=grid", "optimizer.lr=choice(1e-3,1e-2)", "trainer.max_steps=2")
    assert outcome.stderr == "" and len(outcome.stdout.splitlines()) == 6, outcome.stdout
    for trial in found.trials:
        run = record(trial)
        assert run["status"] == "finished" and run["config"]["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert trial.value == run["metrics"]["final"]["val/nats_per_char"]
        assert [*trial.intermediate_values] == [2]
        console = f"{trial.user_attrs['directory']}/../console/{trial.number}.txt"
        with open(console) as file:
            assert "finished: 2 updates" in file.read()
    assert found.user_attrs["objectives"] == ["val/nats_per_char"]


@pytest.mark.slow
def test_a_worse_trial_is_pruned_and_a_diverging_one_fails(sweep):
    overrides = ["optimizer.lr=choice(1e-2,1e-9,1e30)", "trainer.max_steps=6", "val_interval=2", "optimizer=sgd"]
    overrides += ["trainer.gradient_clip_val=null", "hydra/sweeper/sampler=grid", "scheduler.warmup=0"]
    pruner = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1"]
    outcome, found = sweep(*overrides, *pruner, "hydra.sweeper.pruner.n_min_trials=1")
    good, slow, broken = found.trials
    assert [trial.state.name for trial in found.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert [*good.intermediate_values] == [2, 4, 6] and [*slow.intermediate_values] == [2]
    assert record(slow)["status"] == slow.user_attrs["status"] == "pruned" and record(slow)["steps"] == 2
    assert record(slow)["reason"] == slow.user_attrs["reason"]
    assert slow.user_attrs["reason"].startswith("pruned at update 2 of 6: val/nats_per_char is ")
    assert record(broken)["status"] == "failed" and "DivergenceError" in broken.user_attrs["reason"]
    assert "trial 1   PRUNED" in outcome.stdout and outcome.stderr == ""


@pytest.mark.slow
def test_several_objectives_and_no_pruning(sweep):
    objective = "objective=[val/nats_per_char,parameters,seconds]"
    _, found = sweep(objective, "hydra/sweeper/sampler=grid", "model.n_layer=choice(1,2)", "trainer.max_steps=1")
    for trial in found.trials:
        run = record(trial)
        assert trial.values == [run["metrics"]["final"]["val/nats_per_char"], run["parameters"], run["seconds"]]
        assert trial.intermediate_values == {}
    assert found.trials[0].values[1] < found.trials[1].values[1]


@pytest.mark.slow
def test_what_does_not_fit_is_not_trained(sweep, monkeypatch):
    monkeypatch.setattr("frontpage.sweeps.report_trial.free_bytes", lambda device: 1000)
    _, found = sweep("optimizer.lr=choice(1e-3)", "hydra/sweeper/sampler=grid", status=1)
    (trial,) = found.trials
    assert trial.user_attrs["status"] == "infeasible" and "GiB are free" in trial.user_attrs["reason"]
    assert record(trial)["steps"] == 0 and record(trial)["status"] == "failed"
    assert trial.user_attrs["estimated_memory_bytes"] == record(trial)["estimated_memory_bytes"]


@pytest.mark.slow
def test_running_out_of_memory_leaves_the_estimate(sweep, monkeypatch):
    def out(self, *arguments):
        raise MemoryError("out of memory")

    monkeypatch.setattr("frontpage.recipe.language_module.LanguageModule.training_step", out)
    _, found = sweep("optimizer.lr=choice(1e-3)", "hydra/sweeper/sampler=grid", status=1)
    (trial,) = found.trials
    assert trial.user_attrs["status"] == "out of memory" and "out of memory" in trial.user_attrs["reason"]
    assert trial.user_attrs["estimated_memory_bytes"] == record(trial)["estimated_memory_bytes"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "pieces"),
    [
        (["optimizer.lrr=interval(0,1)"], ["optimizer.lrr=", "did you mean 'optimizer.lr'"]),
        (["model/attention=choice(causal,locl)"], ["model/attention=locl", "did you mean 'local'"]),
        slow(["data.batch_size=interval(1,4)"], ["data.batch_size=1.0", "a whole number"]),
        (["model.dropout=interval(0,1)"], ["model.dropout=1.0", "from 0 to below 1"]),
        (
            ["optimizer.lr=choice(1,2)", "trainer.devices=2"],
            ["trainer.devices=2", "CUDA_VISIBLE_DEVICES"],
        ),
        slow(["optimizer.lr=choice(1,2)", "data.path=nowhere.csv"], ["data.path=nowhere.csv", "no such file"]),
        slow(["optimizer.lr=choice(1,2)", "hydra.run.dir=x"], ["hydra.run.dir=x", "hydra.sweeper.directory"]),
        slow(["optimizer.lr=choice(1,2)", "hydra.sweep.dir=/proc/x"], ["hydra.sweep.dir=/proc/x", "cannot be made"]),
        (["model/attention=choice()"], ["model/attention=choice()", "not a range of a search"]),
        slow(["optimizer.lr=choice(1,2)", "trainer.strategy=ddp"], ["trainer.strategy=ddp", "one device"]),
        slow(["optimizer.lr=choice(1,2)", "objective=[val/loss,nonsense]"], ["objective=['val/loss', 'nonsense']"]),
        slow(["optimizer.lr=choice(1,2)", "hydra/sweeper/sampler=tpee"], ["hydra/sweeper/sampler=tpee", "tpe"]),
        (["optimizer.lr=choice(1,2)", "hydra.sweeper.pruner=foo"], ["hydra.sweeper.pruner=foo", "median none"]),
        (["optimizer.lr=choice(1,2)", "hydra.sweeper.n_trails=5"], ["hydra.sweeper.n_trails", "did you mean"]),
        slow(["optimizer.lr=choice(1,2)", "+hydra.sweeper.more.seed=5"], ["hydra.sweeper.more=", "no such key"]),
        slow(["optimizer.lr=choice(1,2)", "hydra.sweeper.sampler=null"], ["hydra/sweeper/sampler=null", "tpe"]),
        slow(["optimizer.lr=choice(1,2)", "hydra.sweeper.storage=null"], ["hydra.sweeper.storage=null", "a path"]),
        slow(["optimizer.lr=choice(1,2)", "hydra.launcher=null"], ["hydra.launcher=null", "leave the setting out"]),
        slow(["optimizer.lr=choice(1,2)", "logger=[]"], ["logger: is missing", "logger=none"]),
        slow(["optimizer.lr=choice(1,2)", "~logger"], ["logger: is missing", "logger=none"]),
        slow(["optimizer.lr=choice(1,2)", "~name"], ["'name' not found"]),
        (["optimizer.lr=choice(1,2)", "logger=false"], ["logger=false: not an option", "csv"]),
        (["optimizer.lr=choice(1,2)", "~objective"], ["objective: is missing"]),
        (["optimizer.weight_decay=choice(1,null)"], ["choice takes no null; write optimizer.weight_decay=1,null"]),
        slow(["optimizer.lr=choice(1,2)", "objective=val/mainrun_loss"], ["needs model.original_metric=always"]),
    ],
    ids=lambda value: value[-1],
)
def test_a_mistake_leaves_no_study(sweep, tmp_path, overrides, pieces):
    outcome, found = sweep(*overrides, status=2)
    check_message(outcome.stderr, pieces)
    assert found is None and contents(tmp_path) == {}


@pytest.mark.slow
def test_an_objective_that_no_run_would_have_is_found_before_the_study(sweep, tmp_path):
    asked = ["objective=[val/mainrun_loss]", "model.original_metric=always", "data.batch_size=choice(512,1024)"]
    outcome, found = sweep(*asked, status=2)
    check_message(outcome.stderr, ["objective=val/mainrun_loss: never computed", "= 16,385 fits"])
    assert found is None and not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_search_without_multirun(command, tmp_path):
    outcome = command(*TINY, "hparams_search=attention")
    assert outcome.status == 2
    check_message(outcome.stderr, ["hparams_search=attention", "add --multirun"])
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_trial_that_was_ended_is_continued_from_its_checkpoint(command, tmp_path, number):
    """The continued trial ends with the bits of one that nobody disturbed."""
    search = ["optimizer.lr=choice(1e-3)", "hydra/sweeper/sampler=grid", "trainer.max_steps=40", "val_interval=10"]
    search = [*SWEEP, *search, "hydra.sweeper.max_retries=1", "data.num_titles=1500", "callbacks.sample_titles=null"]
    places = [f"paths.log_dir={tmp_path}/logs", f"paths.cache_dir={tmp_path}/cache"]
    with open(tmp_path / "console.txt", "w") as console:
        process = subprocess.Popen([sys.executable, "train.py", *places, *search], cwd=ROOT, stdout=console,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        deadline = time.monotonic() + 120
        last = tmp_path / "logs/sweeps/s/0/checkpoints/last-1.ckpt"
        while not last.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, number)
        status = process.wait(60)
    assert status == (-9 if number == signal.SIGKILL else 130), (tmp_path / "console.txt").read_text()
    assert command(*search).status == 0
    first, *others = study(tmp_path).trials
    again = next(trial for trial in others if trial.user_attrs.get("retry_of") == 0)
    assert first.state.name == "FAIL" and first.user_attrs["requeued"] == again.number
    assert again.params == first.params and again.user_attrs["retries"] == (number == signal.SIGKILL)
    assert any(one.startswith("ckpt_path=") for one in again.user_attrs["overrides"])
    assert [*again.intermediate_values] == [10, 20, 30, 40]
    assert sorted(trial.state.name for trial in study(tmp_path).trials) == ["COMPLETE", "FAIL"]
    if number != signal.SIGKILL:
        return
    assert command(*search, "hydra.sweeper.study_name=undisturbed").status == 0
    undisturbed = study(tmp_path, "undisturbed").trials[0]
    assert math.isclose(undisturbed.value, again.value, rel_tol=0, abs_tol=0)
    assert undisturbed.intermediate_values == again.intermediate_values
