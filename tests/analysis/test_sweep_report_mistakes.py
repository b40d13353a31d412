"""The promise of a mistake about a study: status 2 and what is allowed, and no page."""

import sys

import pytest
from programs import run_script, write_csv
from run_folders import fresh  # noqa: F401
from studies import new_study
from sweep_reports import full_fixture, full_study  # noqa: F401

MISTAKES = {
    "unknown name": (["ful"], "did you mean 'full'"),
    "no file": (["{folder}/none.journal"], "no such study"),
    "a folder without": (["{folder}"], "has no study.journal"),
    "no journal": (["{folder}/titles.csv"], "not a journal file of Optuna's"),
    "binary": (["{folder}/binary"], "not a journal file of Optuna's"),
    "empty file": (["{folder}/empty"], "holds no study"),
    "other study": (["{folder}/logs/sweeps/full/study.journal#ful"], "did you mean 'full'"),
    "several": (["{folder}/several/study.journal"], "#several #other"),
    "no database": (["sqlite:///{folder}/none.db"], "there is no file"),
    "other database": (["sqlite:///{folder}/titles.csv"], "no database of Optuna's"),
    "unknown database": (["nosql://user:hushhush@host/x"], "no database of Optuna's"),
    "no folder": (["full", "--output", "{folder}/none/page.html"], "a file in an existing folder"),
    "nothing to score": (["full", "--trial", "2"], "needs --test=FILE"),
    "no test file": (["full", "--test", "{folder}/none.csv"], "--test={folder}/none.csv: no such file"),
    "no winner": (["{folder}/several/study.journal#other", "--test", "{folder}/titles.csv"], "no trial has finished"),
    "no run": (["full", "--test", "{folder}/titles.csv"], "not a run's directory"),
    "no folder of configs": (["full", "--config-dir", "{folder}/none"], "--config-dir={folder}/none: a folder of conf"),
    "nothing": ([""], "study="),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Studies and files that are none, in a folder."""
    folder = tmp_path_factory.mktemp("places")
    full_study(folder / "logs" / "sweeps" / "full", trials=3)
    several = new_study(folder / "several")
    import optuna

    optuna.create_study(study_name="other", storage=several._storage)
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "empty").touch()
    write_csv(folder / "titles.csv", ["One title", "Another"])
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(mistake, places, capfd, monkeypatch):
    monkeypatch.chdir(places)
    arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, "sweep_report", *(one.format(folder=places) for one in arguments))
    assert ended.status == 2 and 1 <= len(ended.stderr.splitlines()) <= 2, ended
    assert said.format(folder=places) in ended.stderr and "hushhush" not in ended.stderr
    assert not [*places.rglob("*.html"), *places.rglob("none*")]


def test_a_missing_plotly_names_the_extra(full, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    ended = run_script(capfd, "sweep_report", full)
    assert ended.status == 2 and ".[report]" in ended.stderr
