"""Optuna Dashboard, which is not ours, serves the studies that a sweep leaves, in a journal and in PostgreSQL."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from postgresql import NEEDED, PASSWORD, server  # noqa: F401
from studies import add, new_study
from tiny import ROOT

from frontpage.sweeps.storage import open_storage

PROGRAM = shutil.which("optuna-dashboard", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
SPACE = {"optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True)}
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs the extra dashboard")


@contextlib.contextmanager
def served(storage, **environment):
    """What the dashboard of this storage answers, by the path of its HTTP API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [PROGRAM, "--port", str(port), "--server", "wsgiref", storage]
    given = os.environ | environment | {"PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(words, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told = []
        while not any("Ctrl-C" in line for line in told):  # the last that it says before it answers
            told.append(running.stdout.readline())
            assert told[-1], "".join(told)

        def ask(path):
            for _ in range(100):
                with contextlib.suppress(ConnectionRefusedError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request("GET", f"/api/{path}")
                    return json.load(connection.getresponse())
                time.sleep(0.1)
            raise AssertionError("it listens nowhere")

        yield ask
    finally:
        running.terminate()
        running.communicate()


def fill(study):
    """Two trials that ended, one that was pruned."""
    add(study, {"optimizer.lr": 1e-3}, 1.5, curve={10: 2.0, 20: 1.5}, space=SPACE)
    add(study, {"optimizer.lr": 1e-2}, 1.25, curve={10: 1.75, 20: 1.25}, space=SPACE)
    add(study, {"optimizer.lr": 1e-1}, state=TrialState.PRUNED, curve={10: 3.0}, space=SPACE)


def assert_shows_them(ask, name):
    """The study is listed, and its trials come with their parameters, values and curves."""
    (study,) = [study for study in ask("studies")["study_summaries"] if study["study_name"] == name]
    trials = ask(f"studies/{study['study_id']}?after=0")["trials"]
    assert [(trial["number"], trial["state"]) for trial in trials] == [(0, "Complete"), (1, "Complete"), (2, "Pruned")]
    assert [trial.get("values") for trial in trials[:2]] == [[1.5], [1.25]]
    rates = [float(one["param_external_value"]) for trial in trials for one in trial["params"]]
    assert rates == [1e-3, 1e-2, 1e-1] and {one["name"] for one in trials[0]["params"]} == {"optimizer.lr"}
    curve = [(point["step"], point["value"]) for point in trials[1]["intermediate_values"]]
    assert curve == [(10, 1.75), (20, 1.25)]


@pytest.mark.slow
def test_it_serves_a_journal(tmp_path):
    fill(new_study(tmp_path / "night"))
    with served(str(tmp_path / "night" / "study.journal")) as ask:
        assert_shows_them(ask, "night")


@pytest.mark.slow
@NEEDED[0]
@NEEDED[1]
def test_it_serves_a_database_whose_password_is_in_the_environment(server, tmp_path):  # noqa: F811
    study = optuna.create_study(study_name="shared", storage=open_storage(server.url))
    study.set_user_attr("sweep_dir", str(tmp_path))
    fill(study)
    with served(server.url.replace(f":{PASSWORD}", ""), PGPASSWORD=PASSWORD) as ask:
        assert_shows_them(ask, "shared")


@pytest.mark.parametrize(
    ("given", "opened"),
    [
        ("night", "logs/sweeps/night/study.journal"),
        ("logs/elsewhere/study.journal", "logs/elsewhere/study.journal"),
        ("postgresql://me@host/sweeps", "postgresql://me@host/sweeps"),
    ],
)
def test_make_dashboard_opens_what_a_study_is_called_by(given, opened):
    asked = subprocess.run(
        ["make", "--dry-run", "dashboard", f"STUDY={given}"], cwd=ROOT, capture_output=True, text=True
    )
    assert f"optuna-dashboard '{opened}'" in asked.stdout, asked.stdout + asked.stderr
