"""Promises of the MLflow logger: all that a run logs lies in its store, and a store that fails costs no run."""

import csv
import shutil
import sys

import pytest
from run_outputs import offline_runs
from tiny import TINY

from frontpage.command.endings import Interrupted

SHORT = (*TINY, "trainer.max_steps=3", "log_interval=1")


@pytest.fixture
def store(monkeypatch, tmp_path):
    """Runs of the default store of MLflow, as its own client reads them, newest last."""
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

    def runs(name="frontpage"):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db")
        found = client.search_runs([client.get_experiment_by_name(name).experiment_id], order_by=["start_time ASC"])
        return client, found

    return runs


# SQLAlchemy 2.1, of the tables of MLflow.
of_its_tables = pytest.mark.filterwarnings("ignore:.*``noload``")


@pytest.mark.slow
@of_its_tables
def test_mlflow_has_all_that_a_run_logs_and_a_resumed_run_is_the_same_one(command, run_directories, store):
    """With the other loggers beside it, in its real store."""
    outcome = command(*SHORT, "logger=[mlflow,wandb]", "name=x")
    assert (outcome.status, outcome.stderr) == (0, "")
    (directory,), (client, [run]) = run_directories(), store()
    assert len(offline_runs(directory)) == 1
    with (directory / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    for name in ("train/loss", "val/nats_per_char", "val/coverage"):
        kept = [float(row[name]) for row in rows if row.get(name)]
        found = client.get_metric_history(run.info.run_id, name)
        assert [one.value for one in sorted(found, key=lambda one: one.step)] == kept, name
    assert (run.info.status, run.data.tags["mlflow.runName"]) == ("FINISHED", "x")
    assert (run.data.params["model/d_model"], run.data.params["seed"]) == ("32", "1337")
    artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "run.json", "metrics.csv", "events.jsonl"} <= artifacts
    again = ("trainer.max_steps=5", "ckpt_path=last", f"hydra.run.dir={directory}")
    assert command(*SHORT, *again, "logger=mlflow", "name=x").status == 0
    client, [run] = store()
    assert run.info.status == "FINISHED"
    steps = [one.step for one in client.get_metric_history(run.info.run_id, "train/loss")]
    assert {3, 4} <= {*steps} and len(steps) == 5


@pytest.mark.slow
@of_its_tables
@pytest.mark.parametrize(("error", "status"), [(RuntimeError("crash"), "FAILED"), (Interrupted("stopped"), "KILLED")])
def test_mlflow_knows_how_a_run_ended(error, status, command, store, monkeypatch):
    from frontpage.training.callbacks import stop_on_signal as module

    def stop(self, trainer):
        raise error

    monkeypatch.setattr(module.StopOnSignal, "_stop_if_asked", stop)
    if status == "KILLED":
        assert command(*SHORT, "logger=mlflow").status == 130
    else:
        with pytest.raises(RuntimeError, match="crash"):
            command(*SHORT, "logger=mlflow")
    assert [run.info.status for run in store()[1]] == [status]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:/x", "logger.mlflow.uri=file:/x: sqlite:///FILE or the URL of a server"),
        ("mlruns", "logger.mlflow.uri=mlruns: sqlite:///FILE or the URL of a server"),
        ("sqlite:///titles.txt", "logger.mlflow.uri=sqlite:///titles.txt: cannot be used (file is not a database)"),
        ("sqlite:////proc/none/x.db", "logger.mlflow.uri=sqlite:////proc/none/x.db: cannot be used ("),
    ],
)
def test_a_store_that_cannot_be_used_is_a_mistake(uri, said, command, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "titles.txt").write_text("A title of somebody, and no database\n" * 9)
    outcome = command(*SHORT, "logger=mlflow", f"logger.mlflow.uri='{uri}'")
    assert outcome.status == 2 and outcome.stderr.startswith(said), outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_without_mlflow_its_extra_is_named(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    outcome = command(*SHORT, "logger=mlflow")
    assert outcome.status == 2
    assert "logger.mlflow" in outcome.stderr and "pip install -c constraints.txt -e '.[mlflow]'" in outcome.stderr


@pytest.mark.slow
@of_its_tables
def test_a_new_run_in_a_folder_that_was_removed_is_a_run_of_its_own(command, store, tmp_path):
    place = f"hydra.run.dir={tmp_path}/run"
    assert command(*SHORT, "logger=mlflow", place).status == 0
    shutil.rmtree(tmp_path / "run")
    assert command(*SHORT, "logger=mlflow", place, "optimizer.lr=2e-3").status == 0
    rates = [float(run.data.params["optimizer/lr"]) for run in store()[1]]
    assert len(rates) == 2 and rates[1] == 2e-3 != rates[0]


@pytest.mark.slow
@of_its_tables
@pytest.mark.parametrize("call", ["log_batch", "log_artifact"])
def test_a_store_that_does_not_answer_costs_a_notice(command, store, monkeypatch, call):
    """In training or at the end of the run, which is finished all the same."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    def gone(*unused, **more):
        raise MlflowException("no answer")

    monkeypatch.setattr(MlflowClient, call, gone)
    outcome = command(*SHORT, "logger=mlflow")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "logger.mlflow.uri=" in outcome.stdout and "(MlflowException: no answer)" in outcome.stdout
