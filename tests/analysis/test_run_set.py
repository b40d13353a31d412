"""Promises of a set of runs: what is missing is trained in its folder, and a failure is told in its own words."""

import json
import shlex

import pytest

from frontpage.analysis import run_set
from frontpage.analysis.run_set import missing_runs, train_all
from frontpage.command.errors import UserError

# Stands for train.py: says what it was given, and ends as the override `end` says.
PROGRAM = """
import json, os, pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(words["hydra.run.dir"].strip('"'))
folder.mkdir(exist_ok=True)
told = {"threads": os.environ["OMP_NUM_THREADS"], "words": words}
(folder / "told.json").write_text(json.dumps(told))
print("first line")
print("seed=x: a whole number")
record = {"status": "finished", "steps": 3, "seconds": 1.0, "metrics": {"final": {"val/t/accuracy": 0.75}}}
record["headline"] = {"name": "val/t/accuracy", "better": "higher"}
(folder / "run.json").write_text(json.dumps(record))
sys.exit(int(words["end"]))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for runs, and a program in the place of train.py."""
    (tmp_path / "train.py").write_text(PROGRAM)
    monkeypatch.setattr(run_set, "ROOT", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "runs"


def test_each_run_has_its_overrides_its_folder_and_goes_on_from_its_last_checkpoint(place, capsys):
    train_all({"one": ["end=0", "seed=1"], "two": ["end=0", "seed=2"]}, place, jobs=2)
    for number, name in enumerate(("one", "two"), start=1):
        words = json.loads((place / name / "told.json").read_text())["words"]
        expected = {"seed": str(number), "name": name, "hydra.run.dir": str(place / name), "ckpt_path": "last"}
        assert {key: words[key] for key in expected} == expected
        assert f"{name}: val/t/accuracy 0.7500, 3 updates, 1 s" in capsys.readouterr().out or number == 2


@pytest.mark.parametrize(("cores", "jobs", "threads"), [(8, 2, 4), (8, 3, 2), (2, 4, 1)])
def test_runs_share_the_cores_unless_the_environment_says_otherwise(place, monkeypatch, cores, jobs, threads):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    for expected in (str(threads), "7"):
        train_all({"one": ["end=0"]}, place, jobs)
        assert json.loads((place / "one" / "told.json").read_text())["threads"] == expected
        monkeypatch.setenv("OMP_NUM_THREADS", "7")


def test_a_mistake_is_told_in_the_words_of_the_run_and_a_crash_by_its_log(place):
    with pytest.raises(UserError, match=r"^seed=x: a whole number$"):
        train_all({"good": ["end=0"], "wrong": ["end=2"]}, place, jobs=1)
    with pytest.raises(RuntimeError, match=r"crashed ended with status 1: see .*crashed\.log"):
        train_all({"crashed": ["end=1"]}, place, jobs=1)


def test_a_run_is_missing_until_its_record_says_that_it_is_finished(tmp_path):
    for name, text in {"done": '{"status": "finished"}', "broken": "{", "begun": '{"status": "running"}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    runs = {name: ["seed=1"] for name in ("done", "broken", "begun", "none")}
    assert missing_runs(runs, tmp_path) == ["broken", "begun", "none"]


@pytest.mark.parametrize("asked", [["end=0", "data.path=other.txt"], ["end=0"], ["end=0", "data.path=titles.tx"]])
def test_a_run_that_was_trained_by_other_words_is_no_run_of_the_set(tmp_path, asked):
    words = '/somewhere/train.py end=0 data.path=titles.txt paths.cache_dir="/a b/c" name=one hydra.run.dir=/runs/one'
    (tmp_path / "one").mkdir()
    (tmp_path / "one/run.json").write_text(json.dumps({"status": "finished", "command": words}))
    assert missing_runs({"one": ["end=0", "data.path=titles.txt"]}, tmp_path) == []
    moved = ["end=0", "data.path=titles.txt", 'paths.cache_dir="/another place/cache"']
    assert missing_runs({"one": moved}, tmp_path) == []
    with pytest.raises(UserError, match="one: was not trained by end=0.*another folder"):
        missing_runs({"one": asked}, tmp_path)


def test_a_folder_with_blanks_is_one_word_and_a_record_of_quoted_words_is_known(place):
    runs, folder = {"one": ["end=0", "tasks=[a,b]"]}, place / "a folder (1)"
    train_all(runs, folder, jobs=1)
    record = json.loads((folder / "one/run.json").read_text())
    record["command"] = shlex.join(["train.py", *runs["one"], "name=one", "paths.log_dir=x y"])
    (folder / "one/run.json").write_text(json.dumps(record))
    assert missing_runs(runs, folder) == []
    with pytest.raises(UserError, match="was not trained by"):
        missing_runs({"one": ["end=0", "tasks=[a]"]}, folder)
