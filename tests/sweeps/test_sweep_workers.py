"""Promises of workers: several share a study exactly, and what one of them leaves behind is taken up."""

import fcntl
import os
import signal
import socket
import time

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from toy_searches import SPACE, toy, valley  # noqa: F401

from frontpage.sweeps.workers import Workers

DEAD = f"{socket.gethostname()}-1-dead"


def abandoned(toy, worker, **attributes):  # noqa: F811
    """A study with a complete trial and a running one of `worker`."""
    toy(valley, SPACE, n_trials=1)
    study = toy.study()
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    for name, value in ({"worker": worker} | attributes).items():
        if value is not None:
            trial.set_user_attr(name, value)
    (toy.folder / "sweeps/toy/workers" / str(worker)).touch()
    return trial


def test_a_dead_workers_trial_is_taken_up_with_its_parameters_and_values(toy):  # noqa: F811
    trial = abandoned(toy, DEAD)
    trial.report(0.5, 3)
    said = toy(valley, SPACE, n_trials=2)
    complete, old, new = toy.study().trials
    assert [one.state.name for one in (complete, old, new)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert new.params == old.params and new.intermediate_values == {}, "without a checkpoint it starts anew"
    assert old.user_attrs["requeued"] == 2 and old.user_attrs["reason"] == "its worker died"
    assert new.user_attrs["retry_of"] == 1 and new.user_attrs["retries"] == 1
    assert "trial 1: its worker died; trial 2 starts anew with the same parameters" in said


def test_of_a_dead_workers_run_no_half_written_file_is_left(toy, tmp_path):  # noqa: F811
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    torn = [tmp_path / "run/run.json.partial", tmp_path / "run/checkpoints/last.ckpt.partial"]
    for path in torn:
        path.write_text("half")
    abandoned(toy, DEAD, directory=str(tmp_path / "run"))
    toy(valley, SPACE, n_trials=2)
    assert not any(path.exists() for path in torn)


def test_a_trial_that_its_worker_could_not_sign_is_taken_up(toy):  # noqa: F811
    abandoned(toy, None)
    toy(valley, SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_trial_is_taken_up_so_many_times_only(toy):  # noqa: F811
    abandoned(toy, DEAD, retries=3)
    toy(valley, SPACE, n_trials=2)
    trials = toy.study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].user_attrs["reason"].endswith("taken up again 3 times (hydra.sweeper.max_retries)")
    assert "requeued" not in trials[1].user_attrs and trials[2].params != trials[1].params


@pytest.mark.parametrize("name", ["it's", 'say "x"', "a b, c", "$" + "{x}", "back\\slash\\", "100%"])
def test_a_checkpoint_is_found_whatever_its_path_looks_like(toy, name):  # noqa: F811
    trial = abandoned(toy, DEAD)
    place = f"/runs/{name}/last.ckpt"
    params = {"params": trial.params, "distributions": trial.distributions}
    attributes = {"retry_of": 1, "checkpoint": place, "continues_at": 7}
    toy.study().add_trial(
        optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING, user_attrs=attributes, **params)
    )
    assert "trial 1: its worker died; trial 2 continues at update 7" in toy(valley, SPACE, n_trials=2)
    (_, overrides), *_ = toy.direct.launched
    (override,) = OverridesParser.create().parse_overrides([overrides[-1]])
    assert OmegaConf.create({"ckpt_path": override.value()}).ckpt_path == place


def test_a_trial_that_was_taken_up_halfway_is_not_taken_up_twice(toy):  # noqa: F811
    """The process that took it up died before it could fail the old one."""
    trial = abandoned(toy, DEAD)
    params = {"params": trial.params, "distributions": trial.distributions}
    waiting = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING, user_attrs={"retry_of": 1}, **params)
    toy.study().add_trial(waiting)
    toy(valley, SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.parametrize("status", ["finished", "pruned", "failed"])
def test_a_run_that_had_ended_before_its_worker_died_counts(toy, status):  # noqa: F811
    directory = toy.folder / "sweeps/toy/1"
    directory.mkdir(parents=True)
    trial = abandoned(toy, DEAD, directory=str(directory))
    trial.report(0.25, 1)
    (directory / "run.json").write_text(
        f'{{"status": "{status}", "reason": "so it was", "metrics": {{"final": {{"objective": 0.125}}}}}}'
    )
    toy(valley, SPACE, n_trials=2)
    state = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[status]
    assert toy.states() == ["COMPLETE", state, *(["COMPLETE"] if status == "failed" else [])]
    ended = toy.study().trials[1]
    assert ended.value == {"finished": 0.125, "pruned": 0.25, "failed": None}[status]
    assert ended.user_attrs.get("reason") == (None if status == "finished" else "so it was")


@pytest.mark.parametrize(
    "content",
    ["[]", "3", "{}", '{"status": "finished"}', '{"status": "finished", "metrics": []}', "{", '"finished"', "\xff"]
    + ['{"status": "finished", "metrics": {"final": {"objective": "low"}}}'],
)
def test_a_record_that_does_not_say_how_its_run_ended_is_not_believed(toy, content):  # noqa: F811
    directory = toy.folder / "sweeps/toy/1"
    directory.mkdir(parents=True)
    abandoned(toy, DEAD, directory=str(directory))
    (directory / "run.json").write_bytes(content.encode("latin-1"))
    toy(valley, SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.slow
def test_a_living_workers_trial_is_left_alone_and_promised(toy):  # noqa: F811
    """Its lock is held by another process, as a living worker holds it."""
    abandoned(toy, DEAD)
    child = os.fork()
    if child == 0:
        with open(toy.folder / "sweeps/toy/workers" / DEAD, "w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            (toy.folder / "ready").touch()
            time.sleep(60)
        os._exit(0)
    try:
        while not (toy.folder / "ready").exists():
            time.sleep(0.01)
        toy(valley, SPACE, n_trials=2)
        assert toy.states() == ["COMPLETE", "RUNNING"]
        toy(valley, SPACE, n_trials=3)
        assert toy.states() == ["COMPLETE", "RUNNING", "COMPLETE"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    toy(valley, SPACE, n_trials=3)
    assert toy.states() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_worker_of_another_machine_is_dead_after_a_while_without_a_sign(tmp_path):
    with Workers(tmp_path, heartbeat=600) as workers:
        other = tmp_path / "elsewhere-1-abc"
        other.touch()
        assert not workers.dead(other.name), "its lock may be invisible from here"
        now = (tmp_path / workers.name).stat().st_mtime
        os.utime(other, (now - 500, now - 500))
        assert not workers.dead(other.name)
        os.utime(other, (now - 1000, now - 1000))
        assert workers.dead(other.name)
        assert workers.unknown("nowhere-1-abc") and not workers.dead("nowhere-1-abc")
        assert not workers.dead(workers.name)


def test_a_trial_of_a_worker_that_cannot_be_seen_counts_and_is_said(toy, caplog):  # noqa: F811
    abandoned(toy, "elsewhere-1-abc")
    (toy.folder / "sweeps/toy/workers/elsewhere-1-abc").unlink()
    toy(valley, SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE", "RUNNING"]
    assert "trial 1 runs in a worker that cannot be seen" in caplog.text


def test_a_worker_gives_signs_of_life(tmp_path):
    with Workers(tmp_path, heartbeat=0.05) as workers:
        path = tmp_path / workers.name
        os.utime(path, (1, 1))
        while path.stat().st_mtime < 2:
            time.sleep(0.001)
    assert not path.exists()


def test_a_worker_that_leaves_with_an_error_is_seen_to_be_dead(tmp_path):
    with pytest.raises(RuntimeError), Workers(tmp_path, heartbeat=600) as leaving:
        raise RuntimeError("the disk is full")
    with Workers(tmp_path, heartbeat=600) as workers:
        assert workers.dead(leaving.name), "its trial would run for ever"


@pytest.mark.slow
def test_several_workers_run_exactly_so_many_different_trials(toy):  # noqa: F811
    processes = [toy.start(SPACE, "hydra.sweeper.n_trials=8", "pause=0.3") for _ in range(3)]
    told = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    trials = toy.study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8
    assert sorted(toy.started()) == [*range(8)], "a trial was started twice"
    assert len({trial.params["x"] for trial in trials}) == 8, "workers of one seed proposed the same"
    assert len({trial.user_attrs["worker"] for trial in trials}) > 1, "one worker did it all: nothing was tested"


@pytest.mark.slow
def test_a_grid_and_kills_lose_and_repeat_nothing(toy):  # noqa: F811
    """kill -9 in the middle of a trial, three times; the neighbour takes it up while it lives, or the next start."""
    command = ("x=range(0,6)", "hydra/sweeper/sampler=grid", "pause=0.3")
    neighbour = toy.start(*command)
    for _ in range(2):
        victim = toy.start(*command)
        before = len(toy.started()) if (toy.folder / "started.txt").exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and victim.poll() is None:
            if (toy.folder / "started.txt").exists() and len(toy.started()) > before:
                break
            time.sleep(0.01)
        victim.kill()
        victim.communicate()
    neighbour.communicate(timeout=200)
    last = toy.start(*command)
    told = last.communicate(timeout=200)[0]
    assert last.returncode == 0, told
    trials = toy.study().trials
    complete = [trial.params["x"] for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted(complete) == [0, 1, 2, 3, 4, 5]
    failed = [trial for trial in trials if trial.state.name != "COMPLETE"]
    assert all(trial.state.name == "FAIL" and "requeued" in trial.user_attrs for trial in failed)


@pytest.mark.parametrize("value", [0.5, float("nan"), RuntimeError("lost")], ids=["a value", "no number", "an error"])
def test_what_a_trial_says_that_another_worker_has_settled_changes_nothing(toy, value):  # noqa: F811
    said = toy(first_is_taken(toy, value), SPACE, n_trials=1)
    assert "trial 0: another worker has taken it over" in said
    assert toy.states() == ["FAIL", "COMPLETE"]


def first_is_taken(toy, value):  # noqa: F811
    """An objective whose first trial is settled elsewhere while it runs, and then gives `value`."""

    def objective(*given, **values):
        study = toy.study()
        trial = study.get_trials(deepcopy=False)[-1]
        if trial.number:
            return valley(*given, **values)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if isinstance(value, Exception):
            raise value
        return value

    return objective
