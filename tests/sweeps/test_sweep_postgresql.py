"""A study in PostgreSQL: workers share it, one is killed, the server goes away."""

import re
import time

import optuna
import pytest
from postgresql import NEEDED, PASSWORD, server  # noqa: F401
from toy_searches import SPACE, toy  # noqa: F401

from frontpage.sweeps.storage import open_storage

pytestmark = [pytest.mark.slow, *NEEDED]


def wait_for_trials(toy, count):  # noqa: F811
    """Until the program has started so many trials."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not ((toy.folder / "started.txt").exists() and len(toy.started()) >= count):
        time.sleep(0.01)


def trials_of(server, name="toy"):  # noqa: F811
    """The study's trials."""
    return optuna.load_study(study_name=name, storage=open_storage(server.url)).trials


def test_workers_share_a_database_and_a_kill_loses_nothing(toy, server):  # noqa: F811
    command = (SPACE, f"hydra.sweeper.storage={server.url}", "hydra.sweeper.n_trials=8", "pause=0.3")
    victim, neighbour = toy.start(*command), toy.start(*command)
    wait_for_trials(toy, 3)
    victim.kill()
    victim.communicate()
    told = neighbour.communicate(timeout=200)[0]
    assert neighbour.returncode == 0, told
    told += toy.program(*command)
    trials = trials_of(server)
    states = sorted(trial.state.name for trial in trials)
    assert states in (["COMPLETE"] * 8, ["COMPLETE"] * 8 + ["FAIL"]), "8 are wanted, neither fewer nor more"
    assert all("requeued" in trial.user_attrs for trial in trials if trial.state.name == "FAIL")
    assert len({trial.user_attrs.get("worker") for trial in trials}) > 1, "one worker did it all"
    texts = [told, *(path.read_text() for path in toy.folder.rglob("*") if path.is_file())]
    assert "sweeper:***@127.0.0.1" in told and not any(PASSWORD in text for text in texts)
    assert not any(PASSWORD in str(trial.user_attrs) for trial in trials)


def test_a_server_that_goes_away_ends_the_sweep_in_a_line_and_loses_nothing(toy, server):  # noqa: F811
    command = (SPACE, f"hydra.sweeper.storage={server.url}", "hydra.sweeper.n_trials=4", "pause=0.5")
    command += ("hydra.sweeper.study_name=lost",)
    sweep = toy.start(*command)
    wait_for_trials(toy, 2)
    server.stop()
    try:
        told = sweep.communicate(timeout=100)[0]
        unreachable = toy.program(*command, status=2)
    finally:
        server.start()
    assert sweep.returncode == 1 and "the database was lost (" in told.splitlines()[-1], told
    assert len(unreachable.splitlines()) == 1, unreachable
    assert re.search(r"storage=\S+sweeper:\*\*\*@.* cannot be opened \(.*refused\)", unreachable), unreachable
    assert "its worker died" in toy.program(*command)
    assert sorted(trial.state.name for trial in trials_of(server, "lost")) == ["COMPLETE"] * 4 + ["FAIL"]


def test_a_wrong_password_is_one_line(toy, server):  # noqa: F811
    url = server.url.replace(PASSWORD, "hush-hush-43")
    said = toy.program(SPACE, f"hydra.sweeper.storage={url}", status=2)
    assert len(said.splitlines()) == 1 and "password authentication failed" in said and "hush" not in said
