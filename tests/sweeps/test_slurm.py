"""The batch scripts on a Slurm of this machine: a run told to stop goes on, workers of a search lose no trial."""

import os
import signal
import sys
from pathlib import Path

import optuna
import postgresql
import pytest
import slurm_node
from postgresql import PASSWORD, server  # noqa: F401
from programs import record_of
from slurm_node import slurm, slurm_of_two  # noqa: F401
from tiny import ROOT, TINY

from frontpage.sweeps.storage import open_storage

pytestmark = [pytest.mark.slow, *slurm_node.NEEDED]
PYTHON = {"PYTHON": sys.executable}


def submit(slurm, tmp_path, script, *arguments, array=None, more=()):  # noqa: F811
    """The number of a job that runs a script from the checkout, with more variables."""
    before = ["--parsable", "--cpus-per-task=1", f"--output={tmp_path}/job-%j.out"]
    before += [f"--array={array}"] if array else []
    places = [f"paths.log_dir={tmp_path}/logs", f"paths.cache_dir={tmp_path}/cache"]
    said = slurm.do(
        "sbatch", *before, f"scripts/slurm/{script}", *arguments, *places, more={**PYTHON, **dict(more)}, cwd=ROOT
    )
    return said.strip()


def consoles(tmp_path):
    """What all jobs have written."""
    return "\n".join(path.read_text() for path in sorted(tmp_path.glob("job-*.out")))


def test_a_run_that_is_told_to_stop_goes_on_from_its_checkpoint(slurm, tmp_path):  # noqa: F811
    directory = tmp_path / "run"
    longer = (*TINY, "trainer.max_epochs=150", "val_interval=500", "log_interval=1", f"hydra.run.dir={directory}")
    job = submit(slurm, tmp_path, "run.sh", *longer)
    begun = directory / "metrics.csv"
    slurm.wait(lambda: begun.exists() and len(begun.read_text().splitlines()) > 20, 120, "the run does not begin")
    slurm.do("scancel", "--signal=TERM", job)  # as --signal does before the time is over: the steps, not the script
    slurm.wait(slurm.drained, 240, "the job does not end")
    said = consoles(tmp_path)
    assert "\ninterrupted\n" in said and record_of(directory)["status"] == "finished", said
    assert '"resumed"' in (directory / "events.jsonl").read_text(), said


def test_a_run_on_two_nodes_is_one_run_and_goes_on_when_it_was_told_to_stop(slurm_of_two, tmp_path):  # noqa: F811
    directory, alone = tmp_path / "run", {"MASTER_ADDR": "127.0.0.1"}  # the names of the nodes are no hosts
    longer = (*TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=100", "val_interval=500",
              "log_interval=1", f"hydra.run.dir={directory}")  # fmt: skip
    job = submit(slurm_of_two, tmp_path, "nodes.sh", *longer, more=alone)
    begun = directory / "metrics.csv"
    slurm_of_two.wait(lambda: begun.exists() and len(begun.read_text().splitlines()) > 20, 600, "it does not begin")
    slurm_of_two.do("scancel", "--signal=TERM", job)
    slurm_of_two.wait(slurm_of_two.drained, 900, "the job does not end")
    said, record = consoles(tmp_path), record_of(directory)
    assert said.count("\ninterrupted\n") == 1 and record["status"] == "finished", said
    assert said.count("\nfinished: ") == 1 and " x 2 devices)" in said
    assert '"resumed"' in (directory / "events.jsonl").read_text(), said
    assert [one["rank"] for one in record["processes"]] == [0, 1]


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(any(mark.args[0] for mark in postgresql.NEEDED), reason="needs PostgreSQL's server")
def test_three_workers_one_killed_and_one_told_to_stop_lose_no_trial(slurm, server, tmp_path):  # noqa: F811
    pytest.importorskip("psycopg", reason="needs the extra postgresql")
    search = (*TINY, "hydra/sweeper=optuna", "hydra.sweeper.study_name=three", "hydra/sweeper/pruner=none",
              "hydra.sweeper.n_trials=7", "optimizer.lr=tag(log,interval(1e-4,1e-2))", "trainer.max_epochs=30",
              "val_interval=100", f"hydra.sweeper.storage={server.url}")  # fmt: skip
    job = submit(slurm, tmp_path, "search.sh", *search, array="1-3")

    def trials():
        try:
            return optuna.load_study(study_name="three", storage=open_storage(server.url)).trials
        except KeyError:
            return []

    def running():
        return {one.user_attrs["worker"] for one in trials() if one.state.name == "RUNNING"}

    slurm.wait(lambda: len(running()) == 3, 180, "the workers do not begin")
    tasks = {_task(worker): _process(worker) for worker in running()}
    assert sorted(tasks) == ["1", "2", "3"]
    os.kill(tasks["1"], signal.SIGKILL)
    slurm.do("scancel", "--signal=TERM", f"{job}_2")
    slurm.wait(slurm.drained, 400, "the jobs do not end")
    said, found = consoles(tmp_path), trials()
    states = [trial.state.name for trial in found]
    assert states.count("COMPLETE") == 7, said
    assert [trial.number for trial in found] == [*range(len(found))]
    broken = [trial for trial in found if trial.state.name != "COMPLETE"]
    assert 1 <= len(broken) <= 2 and all("requeued" in trial.user_attrs for trial in broken), said
    continued = [trial.user_attrs["retry_of"] for trial in found if "retry_of" in trial.user_attrs]
    assert sorted(continued) == [trial.number for trial in broken], "each broken trial is continued, once"
    finished = [record_of(Path(trial.user_attrs["directory"]))["status"] for trial in found if trial not in broken]
    assert finished == ["finished"] * 7
    assert PASSWORD not in said


def _process(worker):
    """The process id in a worker's name: host, process, and a word of its own."""
    return int(worker.rsplit("-", 2)[1])


def _task(worker):
    """Which task of the array a worker is."""
    with open(f"/proc/{_process(worker)}/environ") as file:
        variables = dict(one.partition("=")[::2] for one in file.read().split("\0"))
    return variables["SLURM_ARRAY_TASK_ID"]
