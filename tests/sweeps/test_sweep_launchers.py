"""Promises of launchers: a search by several processes or as jobs of a cluster, and what is said without them."""

import contextlib
import json
import logging

import pytest
from messages import check_message
from omegaconf import OmegaConf
from tiny import TINY
from toy_searches import SPACE, Direct, toy, valley  # noqa: F401

from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.command.program import task
from frontpage.sweeps.cluster import SLURM, check_launcher


@pytest.mark.slow
def test_the_toy_program_is_a_search(toy):  # noqa: F811
    """By Hydra's own launcher, with groups, and with its console in files."""
    said = toy.program("kind=choice(round,flat)", "hydra/sweeper/sampler=grid")
    assert [trial.params for trial in toy.study().trials] == [{"kind": "round"}, {"kind": "flat"}]
    assert [trial.value for trial in toy.study().trials] == [0.25, 1.25]
    assert toy.started() == [0, 1] and len(said.splitlines()) == 6
    for number in (0, 1):
        assert (toy.folder / f"sweeps/toy/console/{number}.txt").read_text() == f"hello from {number}\n"


def test_lightning_is_quiet_in_the_processes_of_a_launcher(monkeypatch):
    """There `task` is called without `program`."""
    lightning = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(lightning, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(lightning, "level", logging.INFO)
    assert task(lambda config: (lightning.handlers, lightning.level))(OmegaConf.create({})) == ([], logging.WARNING)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_batch_of_several_at_once(toy, launcher):  # noqa: F811
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    batch = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["hydra.sweeper.n_jobs=2"]
    pruning = ["reports=3", "hydra.sweeper.pruner=median"]
    process = toy.start(
        f"hydra/launcher={launcher}", *batch, "hydra.sweeper.n_trials=4",
        "x=int(interval(-1,3))", "broken=raise", *pruning,
    )  # fmt: skip
    told = process.communicate(timeout=250)[0]
    assert process.returncode == 0, told
    trials = toy.study().trials
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == 4
    assert sorted(toy.started()) == [*range(len(trials))], "the number of a job is the number of its trial"
    for trial in trials:
        if trial.state.name == "FAIL":
            assert trial.params["x"] == -1 and trial.user_attrs["reason"] == "RuntimeError: it broke"
        else:
            assert [*trial.intermediate_values] in ([1], [1, 2], [1, 2, 3])
        assert (toy.folder / f"sweeps/toy/console/{trial.number}.txt").exists()


def failing(toy, times, before=None):  # noqa: F811
    """Let the launcher fail behind its jobs, as where one of its processes is killed: so often, then no more."""
    launch, failed = Direct.launch, []

    def launched(self, jobs, initial_job_idx):
        returns = launch(self, jobs, initial_job_idx)
        if len(failed) < times:
            failed.append(initial_job_idx)
            (before or (lambda: None))()
            raise RuntimeError("a worker was killed\nby the kernel")
        return returns

    toy.patch.setattr(Direct, "launch", launched)
    return failed


def test_of_a_batch_whose_launcher_failed_what_had_ended_counts_and_the_rest_is_queued_again(toy):  # noqa: F811
    def one_has_ended():
        (toy.folder / "sweeps/toy/0").mkdir()
        ended = {"status": "finished", "metrics": {"final": {"objective": 0.125}}}
        (toy.folder / "sweeps/toy/0/run.json").write_text(json.dumps(ended))

    failing(toy, 1, one_has_ended)
    said = toy(valley, SPACE, n_trials=2, n_jobs=2, max_failed=1)
    trials = toy.study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[0].value == 0.125 and trials[1].params == trials[2].params
    assert (
        trials[1].user_attrs["reason"] == "RuntimeError: a worker was killed" and trials[1].user_attrs["requeued"] == 2
    )
    assert trials[2].user_attrs["retries"] == 0, "it may have been any of the batch"
    assert "trial 0: RuntimeError: a worker was killed, but its run had finished; it counts" in said


def test_one_trial_that_kills_its_batch_takes_no_other_with_it(toy):  # noqa: F811
    """Those of its batch are launched one by one, so that it alone is charged, and ends as failed."""
    launch, launches, killer = Direct.launch, [], []

    def launched(self, jobs, initial_job_idx):
        launches.append(len(jobs))
        if len(launches) == 1:
            killer.append(jobs[1])
        if killer[0] in jobs:
            raise RuntimeError("a worker was killed")
        return launch(self, jobs, initial_job_idx)

    toy.patch.setattr(Direct, "launch", launched)
    toy(valley, SPACE, n_trials=3, n_jobs=3, max_retries=1, max_failed=9)
    trials = toy.study().trials
    bad = [trial for trial in trials if trial.params == trials[1].params]
    assert launches[:4] == [3, 1, 1, 1]
    assert [trial.user_attrs.get("retries", 0) for trial in bad] == [0, 0, 1] and bad[-1].state.name == "FAIL"
    assert all(trial.user_attrs.get("retries", 0) == 0 for trial in trials if trial not in bad)
    assert toy.states().count("COMPLETE") == 3


def test_a_launcher_that_always_fails_ends_the_search_with_its_reason(toy):  # noqa: F811
    failed = failing(toy, 99)
    said = toy(valley, SPACE, n_trials=3, max_retries=1, max_failed=2, status=1)
    assert failed == [0, 1, 2, 3] and toy.states() == ["FAIL"] * 4
    assert said.startswith("hydra.sweeper.study_name=toy: 2 trials have failed, hydra.sweeper.max_failed=2")
    for number in (1, 3):
        assert f"trial {number}: RuntimeError: a worker was killed, and it has been taken up 1 times: FAIL" in toy.said


@pytest.mark.parametrize(("launcher", "plugin"), [("joblib", "joblib"), ("slurm", "submitit_slurm")])
def test_a_launcher_without_its_extra(command, monkeypatch, launcher, plugin):
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # fills the store, where no test before has done so
    there = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("joblib.yaml", "submitit_slurm.yaml"):
        monkeypatch.delitem(there, name, raising=False)
    outcome = command(*TINY, "--multirun", "hydra/sweeper=optuna", "optimizer.lr=choice(1,2)", f"launcher={launcher}")
    assert outcome.status == 2
    check_message(
        outcome.stderr,
        [f"launcher={launcher}: needs the extra `{launcher}`", installing(launcher)],
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "slurm"])
def test_a_launcher_is_an_option(command, launcher):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    outcome = command(*TINY, "--multirun", "hydra/sweeper=optuna", "model.n_head=choice(1)", f"launcher={launcher}",
                      "hydra.sweeper.n_trials=0")  # fmt: skip
    assert outcome.status == 2
    check_message(outcome.stderr, ["hydra.sweeper.n_trials=0"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", "launcher=slurm: .*accounting.*slurm/search.sh"),
        (None, "launcher=slurm: needs Slurm's commands"),
        ("exit 0", None),
        ("echo 'sacct: error: Problem talking to the database' >&2; exit 1", None),
    ],
    ids=["no accounting", "no Slurm", "accounting", "a database that is away"],
)
def test_slurm_without_accounting_is_refused(tmp_path, monkeypatch, answer, said):
    """A launcher that would wait for ever for a job that was killed."""
    if answer is not None:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) if answer is None else f"{tmp_path}:/usr/bin:/bin")
    refused = contextlib.nullcontext() if said is None else pytest.raises(UserError, match=said)
    with refused:
        check_launcher(SLURM)
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")


def test_the_launcher_that_is_asked_about_is_the_one_of_the_config():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    assert f"{SlurmLauncher.__module__}.{SlurmLauncher.__name__}" == SLURM
