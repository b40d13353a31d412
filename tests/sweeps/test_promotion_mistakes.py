"""Promises of what is wrong with a promotion: it is said in a line or two, and no experiment is overwritten."""

import pytest
from optuna.trial import TrialState
from programs import run_script
from studies import add, new_study, record_of

from frontpage.command.notices import forget_notices
from frontpage.sweeps import promotion
from frontpage.sweeps.promotion import experiment_name


@pytest.fixture(autouse=True)
def experiments(tmp_path, monkeypatch):
    """Experiments are written to a folder of this test's own."""
    folder = tmp_path / "written" / "experiment"
    folder.mkdir(parents=True)
    monkeypatch.setattr(promotion, "EXPERIMENTS", folder)
    forget_notices()
    return folder


@pytest.mark.parametrize("text, name", [("lr", "lr_best"), ("a b/c-1", "a_b_c_1_best"), ("x_best", "x_best")])
def test_names_say_that_an_experiment_was_promoted(text, name):
    assert experiment_name(text) == name


MISTAKES = {
    "no study": (["{folder}/none/study.journal"], "no such study"),
    "no name": (["tiny_ratez"], "no such study"),
    "empty": (["{folder}/empty"], "no trial has finished"),
    "all failed": (["{folder}/failed"], "1 failed"),
    "unknown trial": (["{folder}/bare", "--trial", "2"], "not one of the finished trials: 0"),
    "a name of nothing": (["{folder}/bare", "--name", "/"], "letters"),
    "not launched": (["{folder}/bare"], "does not say which overrides"),
    "nothing": ([""], "study="),
    "no folder of configs": (
        ["{folder}/good", "--config-dir", "{folder}/none"],
        "--config-dir={folder}/none: a folder",
    ),
    "an empty folder of configs": (["{folder}/good", "--config-dir", ""], "--config-dir=: a folder of configs"),
    "overrides that are none": (["{folder}/odd"], "does not say which overrides"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(mistake, tmp_path, capfd, experiments):
    new_study(tmp_path / "empty")
    add(new_study(tmp_path / "failed"), {"model.d_model": 32}, state=TrialState.FAIL)
    add(new_study(tmp_path / "bare"), {"model.d_model": 32}, 1.0)
    add(new_study(tmp_path / "good"), {"model.d_model": 32}, 1.0, overrides=["model.d_model=32"])
    add(new_study(tmp_path / "odd"), {"model.d_model": 32}, 1.0, overrides=5)
    arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, "promote", *(one.format(folder=tmp_path) for one in arguments))
    assert ended.status == 2 and 1 <= len(ended.stderr.splitlines()) <= 2, ended
    assert said.format(folder=tmp_path) in ended.stderr
    assert [*experiments.iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("base", ["peer_best", "peer_best_small"])
def test_an_experiment_that_the_trial_started_from_is_not_overwritten(base, tmp_path, capfd, experiments):
    """It would start from itself; the second starts from the first."""
    overrides = [f"experiment={base}", "model.d_model=32"]
    add(new_study(tmp_path / "peer_best"), {"model.d_model": 32}, 1.0, overrides=overrides)
    refused = run_script(capfd, "promote", tmp_path / "peer_best", "--force")
    assert refused.status == 2 and "--name=peer_best: the trial started from this experiment" in refused.stderr, refused
    assert [*experiments.iterdir()] == []
    assert run_script(capfd, "promote", tmp_path / "peer_best", "--name", "peer_wider").status == 0


ODD = {"objectives": 5, "space": "x", "command": [1], "git_commit": 5, "search": {}, "overrides": 5}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_an_attribute_of_a_wrong_type_is_said_and_left_out(name, tmp_path, capfd, experiments):
    study = new_study(tmp_path / "odd")
    study.set_user_attr(name, ODD[name])
    add(study, {"model.d_model": 32}, 1.0, record=record_of(1.0), overrides=["model.d_model=32"], reason=5)
    ended = run_script(capfd, "promote", tmp_path / "odd", "--name", "odd")
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    assert f"study odd: its attribute {name} is no " in ended.stdout
    assert (experiments / "odd_best.yaml").exists()
