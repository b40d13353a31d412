"""Promises of the folder of a run: which can be one, that `~` is the home folder, that a refused run leaves none."""

import logging
import os
from pathlib import Path

import pytest
from messages import check_message, folders
from omegaconf import OmegaConf
from programs import record_of
from tiny import TINY

from frontpage.command.mistakes import with_homes
from frontpage.command.run_folder import expand_homes
from frontpage.command.terminal import printable

SHORT = (*TINY, "trainer.max_steps=1")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder, with a blank in its name."""
    path = tmp_path / "my home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.mark.parametrize(
    "name",
    ["a/b", "../../escaped", ".", "..", "/absolute", "x" * 271, "ж" * 101, "a\tb", " a"],
    ids=lambda name: name[:9],
)
def test_a_name_that_is_no_folders_is_refused_before_anything_is_made(command, tmp_path, name):
    also = [(f"hydra.run.dir={tmp_path}/given",), ("--multirun",)] if name == "a/b" else []
    for more in [(), *also]:
        outcome = command(*SHORT, f'name="{name}"', *more)
        assert outcome.status == 2, outcome.stdout
        check_message(outcome.stderr, [f"name={printable(name[:3])}", "at most 200 bytes"])
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_name_of_many_words_and_letters_is_one(command, run_directories):
    assert command(*SHORT, 'name="größer, 2 x 3 (naïve)"').status == 0
    assert run_directories()[0].parent.name == "größer, 2 x 3 (naïve)"


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_a_refused_run_leaves_the_folders_that_there_were(command, tmp_path, there):
    path = tmp_path / "above" / "run"
    if there:
        path.mkdir(parents=True)
    before = folders(tmp_path)
    outcome = command(*SHORT, f"hydra.run.dir={path}", "hydra.output_subdir=.hydra", "model.n_head=3")
    assert (outcome.status, folders(tmp_path)) == (2, before)


@pytest.fixture
def logging_as_before():
    """Hydra's own logging, which its default option sets up, does not outlive the test."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level = before


@pytest.mark.slow
@pytest.mark.parametrize("written", ["hydra.output_subdir=.hydra", "hydra/job_logging=default"])
def test_what_hydra_writes_does_not_make_a_new_folder_a_used_one(command, tmp_path, logging_as_before, written):
    path = tmp_path / "run"
    assert command(*SHORT, f"hydra.run.dir={path}", written).status == 0
    assert record_of(path)["status"] == "finished"
    outcome = command(*SHORT, f"hydra.run.dir={path}", written)
    assert outcome.status == 2 and "in use already" in outcome.stderr


def test_a_folder_of_hydras_that_was_there_makes_it_used(command, tmp_path):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    outcome = command(*SHORT, f"hydra.run.dir={tmp_path}/run", "hydra.output_subdir=.hydra")
    assert outcome.status == 2 and "in use already" in outcome.stderr
    assert (tmp_path / "run" / ".hydra").is_dir()


@pytest.mark.parametrize("key", ["hydra.run.dir", "paths.cache_dir", "init_from", "ckpt_path"])
def test_a_url_is_named_as_it_was_given_without_its_password(command, tmp_path, key):
    outcome = command(*SHORT, f"{key}=https://me:secret77@host/x")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"{key}=https://me:***@host/x: a URL"])
    assert folders(tmp_path) == set()


@pytest.mark.slow
def test_a_home_folder_is_written_out_for_hydra_for_scripts_and_for_config_files(command, home):
    for written in ("~/one", '"~/one"', "'~/one'"):
        assert with_homes([f"hydra.run.dir={written}"]) == [f'hydra.run.dir="{home}/one"']
    untouched = ["~model.d_ff", "name=~", "name=a~/b", "x=~nobody-of-that-name/x", "--json", "~", 'x="~/a']
    assert with_homes(untouched) == untouched
    assert with_homes(["--json=~/one.json"]) == [f"--json={home}/one.json"]
    config = OmegaConf.create({"paths": {"log": "~/logs", "runs": "${paths.log}/runs"}, "name": "~", "seed": None})
    expand_homes(config)
    assert config.paths.runs == f"{home}/logs/runs" and config.name == "~"
    assert command(*SHORT, "hydra.run.dir=~/run", "paths.cache_dir='~/tokens'").status == 0
    assert {path.name for path in home.iterdir()} == {"run", "tokens"}


def test_a_home_folder_with_letters_that_hydra_reads_in_quotes_only_has_them(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jürgen")
    assert with_homes(["hydra.run.dir=~/one"]) == ['hydra.run.dir="/home/jürgen/one"']


@pytest.mark.slow
def test_a_folder_whose_name_is_no_text_is_refused(command, tmp_path, monkeypatch):
    strange = Path(os.fsdecode(bytes(tmp_path / "strange") + b"\xff"))
    try:
        strange.mkdir()
    except OSError:
        pytest.skip("this file system takes names that are UTF-8 only")
    monkeypatch.chdir(strange)
    outcome = command(*SHORT, "hydra.run.dir=here")
    assert outcome.status == 2
    check_message(outcome.stderr, ["hydra.run.dir=", "not UTF-8"])
    assert list(strange.iterdir()) == []
