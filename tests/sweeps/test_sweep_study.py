"""Promises of a study: where it is kept, how it is counted, and that it stays one search."""

import json

import optuna
import pytest
from messages import check_message, contents
from toy_searches import SPACE, toy, valley  # noqa: F401

from frontpage.command.errors import UserError
from frontpage.sweeps.storage import open_storage
from frontpage.sweeps.study import _fixed_otherwise


def test_a_path_is_a_journal_and_the_command_continues_it(toy):  # noqa: F811
    launched = []
    for trials in (3, 5, 5):
        said = toy(valley, SPACE, n_trials=trials)
        launched += [number for number, _ in toy.direct.launched]
    assert toy.states() == ["COMPLETE"] * 5
    assert launched == [0, 1, 2, 3, 4], "a trial was lost or repeated"
    assert "study toy: 5 of 5 trials are there" in said and "study toy: 5 complete" in said


@pytest.mark.slow
def test_a_url_is_a_database(toy):  # noqa: F811
    storage = f"sqlite:///{toy.folder}/study.db"
    for trials in (2, 3):
        toy(valley, SPACE, n_trials=trials, storage=storage)
    assert [trial.state.name for trial in toy.study(storage=storage).trials] == ["COMPLETE"] * 3
    assert not list(toy.folder.rglob("*.journal"))


@pytest.mark.slow
def test_a_lost_database_is_one_line_and_loses_no_trial(toy):  # noqa: F811
    path, intact = toy.folder / "study.db", []

    def lose(number: int, x: float, **others: float) -> float:
        if number == 1:
            intact.append(path.read_bytes())
            path.write_bytes(b"?" * len(intact[0]))
        return x

    keys = {"n_trials": 3, "storage": f"sqlite:///{path}"}
    said = toy(lose, SPACE, status=1, **keys)
    check_message(said, ["hydra.sweeper.storage=sqlite:///", "the database was lost (", "goes on when it is back"])
    path.write_bytes(intact[0])
    assert "trial 1: its worker died; trial 2 starts anew" in toy(valley, SPACE, **keys)
    states = [trial.state.name for trial in toy.study(storage=keys["storage"]).trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_the_password_of_a_database_is_not_told(toy):  # noqa: F811
    """Neither when a sweep begins, nor where a trial fails by what its message quotes."""
    url, journal = "postgresql://me:hush/hush@host/db", toy.folder / "kept.journal"
    toy.patch.setattr("frontpage.sweeps.study.open_storage", lambda place: open_storage(str(journal)))

    def broken(number: int, x: float, **others: float) -> float:
        raise UserError(f"hydra.sweeper.storage={url}: cannot be opened")

    toy(broken, SPACE, n_trials=1, max_failed=1, storage=url, status=1)
    assert "storage postgresql://me:***@host/db" in toy.said and "FAIL" in toy.said
    assert "hush/hush" not in toy.said + journal.read_text()


def test_a_study_keeps_no_secret_of_its_trials(toy):  # noqa: F811
    given = ["aws_secret_access_key=k9f8e7d", "login.pwd=p9w", "tokens=t9x"]
    said = toy(valley, SPACE, *given, n_trials=1, config={"login": {"pwd": None}})
    journal = (toy.folder / "sweeps/toy/study.journal").read_text()
    assert "aws_secret_access_key=***" in journal and "login.pwd=***" in journal
    assert not any(secret in journal + said for secret in ("k9f8e7d", "p9w", "t9x"))
    assert toy.study().trials[0].state.name == "COMPLETE"
    toy(valley, SPACE, *given, n_trials=2, config={"login": {"pwd": None}})  # the same search to the study


def test_a_study_says_what_it_is(toy):  # noqa: F811
    toy(valley, SPACE, "y=1", n_trials=1, study_name="mine")
    study, (trial,) = toy.study("mine"), toy.study("mine").trials
    said = study.user_attrs
    assert said["objectives"] == ["objective"] and said["search"] is None
    assert said["overrides"] == ["y=1"] and said["space"] == {"x": "interval(0,1)"}
    assert said["command"] == "python app.py --multirun" and "git_commit" in said
    assert said["sweep_dir"] == str(toy.folder / "sweeps/mine")
    assert trial.user_attrs["directory"] == str(toy.folder / "sweeps/mine/0")
    assert trial.user_attrs["overrides"] == [f"x={trial.params['x']}", "y=1"]
    assert trial.user_attrs["worker"] and trial.user_attrs["status"] == "finished"


def test_a_trial_is_a_line(toy):  # noqa: F811
    lines = toy(valley, SPACE, n_trials=3).splitlines()
    assert len(lines) == 7, lines
    assert [line.split()[:3] for line in lines[2:5]] == [["trial", str(number), "COMPLETE"] for number in range(3)]
    assert all("x=0." in line and "[best " in line for line in lines[2:5])


def test_results_are_written_as_the_plugin_does(toy):  # noqa: F811
    toy(valley, SPACE, n_trials=2)
    text = (toy.folder / "sweeps/toy/optimization_results.yaml").read_text()
    assert "best_params" in text and str(toy.study().best_value) in text


@pytest.mark.parametrize(
    ("changed", "keys", "said"),
    [
        (["x=interval(0,2)"], {}, "x=interval(0,1), not interval(0,2)"),
        ([SPACE, "y=choice(1,2)"], {}, "y=nothing, not choice(1,2)"),
        ([SPACE], {"config": {"budget": 2}}, "budget=1, not 2"),
        ([SPACE], {"config": {"kind": {"offset": 1}}}, "kind.offset=0, not 1"),
        ([SPACE, "z=5"], {}, "z=as it was, not 5"),
        ([SPACE], {"direction": "maximize"}, "direction=['minimize'], not ['maximize']"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_search_is_refused_and_the_study_untouched(toy, changed, keys, said):  # noqa: F811
    toy(valley, SPACE, n_trials=1)
    before = contents(toy.folder)
    refused = toy(valley, *changed, n_trials=2, status=2, **keys)
    check_message(refused, ("hydra.sweeper.study_name=toy", said, "name another study"))
    assert contents(toy.folder) == before


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (["optimizer.weight_decay=0.1"], ["optimizer.weight_decay=5e-1"], ["optimizer.weight_decay=0.1, not 0.5"]),
        (["optimizer.weight_decay=1e-1"], ["optimizer.weight_decay=0.1"], []),
        (["a=1"], [], ["a=1, not as it was"]),  # among the parameters of a search
        (["budget=2"], [], []),  # in the signature, with this value
        (["budget=2"], ["budget=3"], []),  # both signatures have it, and are compared themselves
        (["trainer.devices=2", "name=x"], ["name=y"], []),  # free
        (["data=titles"], [], []),  # a group, whose keys the signature has
        (["model/attention=local"], ["model/attention=causal"], ["model.attention=local, not causal"]),
    ],
)
def test_what_is_fixed_where_the_signature_does_not_tell_is_compared_by_its_value(before, now, said):
    signature = {"budget": 2, "data.path": None}
    assert _fixed_otherwise((before, signature), (now, signature)) == said


def test_the_same_space_in_other_words_is_the_same_search(toy):  # noqa: F811
    toy(valley, "x=interval(1e-1,1)", n_trials=1)
    toy(valley, "x=interval(0.1, 1.0)", n_trials=2, seed=3, sampler="random")
    assert toy.states() == ["COMPLETE"] * 2


def test_runs_of_a_study_that_is_gone_are_not_mixed_with_a_new_one(toy):  # noqa: F811
    left = toy.folder / "sweeps/toy/0"
    left.mkdir(parents=True)
    (left / "run.json").write_text("{}")
    refused = toy(valley, SPACE, status=2)
    check_message(refused, ("hydra.sweeper.study_name=toy", "the runs of one", "move them away"))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_broken_off_study_is_continued_with_the_proposals_that_it_would_have_had(toy, sampler):  # noqa: F811
    for name, steps in (("whole", [14]), ("parts", [3, 11, 14])):
        for trials in steps:
            toy(valley, SPACE, n_trials=trials, study_name=name, sampler=sampler)
    whole, parts = ([trial.params for trial in toy.study(name).trials] for name in ("whole", "parts"))
    assert whole == parts
    assert len({point["x"] for point in whole}) == 14


def test_a_torn_journal_is_mended_and_goes_on(toy, caplog):  # noqa: F811
    toy(valley, SPACE, n_trials=3)
    journal = toy.folder / "sweeps/toy/study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"worker_')
    toy(valley, SPACE, n_trials=4)
    assert "cut short and has been removed" in caplog.text
    assert journal.read_bytes().startswith(whole)
    for line in journal.read_text().splitlines():
        json.loads(line)
    assert toy.states() == ["COMPLETE"] * 4


@pytest.mark.parametrize("content", [b"a note\nand another", b"SQLite format 3\x00\n\xfb", b"{}"])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(toy, content):  # noqa: F811
    path = toy.folder / "file"
    path.write_bytes(content)
    said = toy(valley, SPACE, n_trials=1, storage=str(path), status=2)
    check_message(said, [f"hydra.sweeper.storage={path}", "not the journal of a study", "sqlite:///"])
    assert path.read_bytes() == content, "what had no newline at its end was taken for a torn record"


def test_a_journal_is_the_same_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optuna.create_study(study_name="a", storage=open_storage("below/study.journal"))
    assert optuna.load_study(study_name="a", storage=open_storage("study.journal", base=tmp_path / "below"))


@pytest.mark.slow
def test_the_lock_of_a_writer_that_was_killed_is_broken(toy, monkeypatch):  # noqa: F811
    monkeypatch.setattr("frontpage.sweeps.storage.PATIENCE", 3)
    toy(valley, SPACE, n_trials=1)
    journal = toy.folder / "sweeps/toy/study.journal"
    journal.with_name("study.journal.lock").symlink_to(journal)
    toy(valley, SPACE, n_trials=2)
    assert toy.states() == ["COMPLETE"] * 2
