"""Promises of scripts/train_native_multi_task.py: it prints the command of train.py it stands for, and becomes it."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from programs import run_script
from tiny import ROOT

PAGE = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ python scripts/train_native_multi_task\.py (.*)\n(.*)", PAGE, re.MULTILINE)
SCRIPT = "train_native_multi_task"


class Became(Exception):
    """What the process would go on as."""


@pytest.fixture
def became(capfd, monkeypatch):
    """became(*arguments) gives the lines that the script prints, and the command that it becomes."""

    def run(*arguments):
        def execve(path, words, environment):
            raise Became(path, words, environment)

        monkeypatch.setattr(os, "execve", execve)
        capfd.readouterr()
        with pytest.raises(Became) as raised:
            run_script(capfd, SCRIPT, *arguments)
        path, words, environment = raised.value.args
        assert path == words[0] == sys.executable and words[1] == str(ROOT / "train.py")
        assert environment.get("HYDRA_FULL_ERROR") != "1", "train.py would show a traceback of a mistake"
        return capfd.readouterr().out.splitlines(), words[2:]

    return run


@pytest.mark.parametrize(("words", "line"), SHOWN, ids=[words for words, _ in SHOWN])
def test_what_the_page_shows_is_what_is_printed(capfd, monkeypatch, words, line):
    monkeypatch.chdir(ROOT)
    ended = run_script(capfd, SCRIPT, *shlex.split(words))
    assert (ended.status, ended.stdout, ended.stderr) == (0, f"{line}\n", "")


def test_what_is_printed_is_a_shell_script_that_says_what_runs(became, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    arguments = ["--precision", "int8", "--bible-dir", "/my bible/$x", "--cpu-data", "name=a b", "--lr=0"]
    lines, words = became(*arguments)
    assert [line.startswith("# --") for line in lines] == [True, True, False]
    there = subprocess.run(
        ["sh", "-c", lines[-1].replace("python", "printf '%s\\n'", 1)], capture_output=True, text=True
    )
    assert there.stdout.splitlines() == ["train.py", *words]
    assert words == [
        "experiment=multitask",
        "optimizer.lr=0.0",
        "precision=int8_optim",
        'data.root="/my bible/$x"',
        "name=a b",
    ]


def test_from_another_folder_the_command_names_the_program(became, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lines, _ = became("--bible-dir", ".")
    assert (tmp_path / shlex.split(lines[-1])[1]).resolve() == ROOT / "train.py"


def test_a_corpus_that_nobody_named_and_that_is_not_there_is_refused(capfd, became, monkeypatch, tmp_path):
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    ended = run_script(capfd, SCRIPT, "--steps", "3")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith("--bible-dir: ../../Bible, ") and "--bible-dir FOLDER" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert run_script(capfd, SCRIPT, "--steps", "3", "--dry-run").status == 0
    (tmp_path / "Bible").mkdir()
    assert "data.root=../../Bible" in became("--steps", "3")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], ("--steps", "at least 1")),
        (["--mode", "standard"], ("--mode", "deep_narrow_48")),
        (["--wwm-trigger", "500"], ("--wwm-trigger=500: ", "data.corruption=word")),
        (["--prepare-cache"], ("--prepare-cache: ",)),
        (["--task-weights", "1,2"], ("--task-weights", "--help")),
        (["--batch", "4"], ("--batch", "--help")),
    ],
)
def test_a_mistake_is_said_in_a_line(capfd, arguments, words):
    ended = run_script(capfd, SCRIPT, *arguments, "--print")
    assert (ended.status, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert all(word in ended.stderr for word in words), ended.stderr


@pytest.mark.slow
def test_it_trains_and_ends_as_the_program_does(tmp_path):
    """A run of the original's folder: a locale a folder, in each a list of chapters."""
    words = [" ".join(f"w{chapter * place % 97}" for place in range(40)) for chapter in range(400)]
    for locale in ("en", "sv"):
        path = tmp_path / "Bible" / locale / "chapters.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([{"text": f"{locale} {text}"} for text in words]))
    command = [sys.executable, f"scripts/{SCRIPT}.py", "--bible-dir", str(tmp_path / "Bible"), "--steps", "2"]
    command += ["--lr", "0", "--val-interval", "2", "--batch-size", "2", "--grad-accum", "1", "--eval-aux-samples", "4"]
    command += ["trainer.accelerator=cpu", "trainer.precision=32-true", f"paths.cache_dir={tmp_path}/cache"]
    command += [f"hydra.run.dir={tmp_path}/run", "debug=fast_parallel", "trainer.max_steps=2"]
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *_ = ended.stdout.splitlines()
    assert first.startswith("python train.py experiment=multitask optimizer.lr=0.0 ")
    assert "tasks.cross_reference.fallback=true: there are no links" in ended.stdout
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.startswith("hydra.run.dir=") and len(again.stderr.splitlines()) == 1
