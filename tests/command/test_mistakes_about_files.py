"""The promise of a mistake about titles' files, folders, caches, runs and checkpoints: refused, and all left alone."""

from pathlib import Path

import filelock
import pytest
import torch
from messages import check_message, contents
from programs import train_tiny
from refusals import mistake_fixture  # noqa: F401
from tiny import TINY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("nowhere.csv", None, "no such file"),
        ("garbage.parquet", b"PAR1 this is no Parquet file PAR1", "not a readable Parquet file"),
        ("broken.jsonl", b'{"title": "good"}\n{"title": "bad\n', "line 2 is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read(mistake, tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    mistake(f"data.path={path}", f"data.path={path}", problem)
    mistake(["test=true", f"data.test_path={path}"], f"data.test_path={path}", problem)


@pytest.mark.slow
def test_a_file_with_fewer_titles_than_asked_for(mistake, tmp_path):
    (tmp_path / "few.txt").write_text("first\nsecond\nfirst\n")
    mistake(f"data.path={tmp_path}/few.txt", "data.num_titles=120", "2 distinct titles", "null")


@pytest.mark.parametrize("place", ["below/a/file", "proc"])
def test_a_run_directory_that_cannot_be_made(command, tmp_path, place):
    (tmp_path / "below").write_text("a file")
    path = "/proc/nope" if place == "proc" else str(tmp_path / place)
    outcome = command(*TINY, f"hydra.run.dir={path}")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"hydra.run.dir={path}", "cannot be made", "name one that can be written"])
    assert (tmp_path / "below").read_text() == "a file"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(mistake, tmp_path):
    (tmp_path / "file").write_text("a file")
    mistake(f"paths.cache_dir={tmp_path}/file/tokens", f"paths.cache_dir={tmp_path}/file/tokens", "cannot be written")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.slow
def test_a_run_directory_with_other_files_is_left_alone(mistake, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("not a run's")
    for more, allowed in ((), "ckpt_path=last"), (("ckpt_path=last",), "name a run's, or an empty one"):
        mistake([f"hydra.run.dir={tmp_path}/mine", *more], f"hydra.run.dir={tmp_path}/mine", allowed)


@pytest.mark.slow
def test_a_named_run_directory_is_empty_after_a_mistake_and_can_be_used(mistake, command, tmp_path):
    (tmp_path / "mine").mkdir()
    mistake([f"hydra.run.dir={tmp_path}/mine", "model.n_head=3"], "model.n_head=3")
    assert list((tmp_path / "mine").iterdir()) == []
    assert command(*TINY, f"hydra.run.dir={tmp_path}/mine").status == 0


@pytest.mark.slow
def test_two_runs_in_one_directory_at_once(mistake, tmp_path):
    (tmp_path / "mine").mkdir()
    with filelock.FileLock(tmp_path / "mine" / "run.lock"):
        for more in ([], ["ckpt_path=last"]):
            mistake([f"hydra.run.dir={tmp_path}/mine", *more], f"hydra.run.dir={tmp_path}/mine", "another process")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The directory of a tiny run that has ended."""
    return train_tiny(tmp_path_factory.mktemp("finished") / "run")


@pytest.mark.slow
def test_a_finished_run_is_not_touched(command, finished):
    before = contents(finished.parent)
    outcome = command(*TINY, f"hydra.run.dir={finished}")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"hydra.run.dir={finished}", "in use already", "a new or an empty one"])
    assert contents(finished.parent) == before
    outcome = command(*TINY, f"hydra.run.dir={finished}", "ckpt_path=last")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert f"{finished} is finished" in outcome.stdout
    assert contents(finished.parent) == before


@pytest.mark.slow
def test_nothing_to_continue_is_said(command, run_directories, tmp_path):
    outcome = command(*TINY, "ckpt_path=last", f"hydra.run.dir={tmp_path}/logs/runs/a/b")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "ckpt_path=last" in outcome.stdout and "starts at step 0" in outcome.stdout


@pytest.mark.slow
def test_checkpoints_that_do_not_fit(mistake, finished, tmp_path):
    good = finished / "checkpoints" / "last.ckpt"
    corrupt, foreign, weights = (tmp_path / f"{name}.ckpt" for name in ("corrupt", "foreign", "weights"))
    corrupt.write_bytes(good.read_bytes()[:5000])
    torch.save({"model": torch.zeros(2)}, foreign)
    content = torch.load(good, weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, weights)
    for key in ("ckpt_path", "init_from"):
        mistake(f"{key}={corrupt}", f"{key}={corrupt}", "not a readable checkpoint")
        mistake(f"{key}={foreign}", f"{key}={foreign}", "not a checkpoint of this project")
        wider = ["model.d_model=64", f"{key}={good}"]
        mistake(wider, f"{key}={good}", "weights do not fit", "net.token_embedding.weight (300x32, here 300x64)")
        mistake(["model.n_layer=2", f"{key}={good}"], "net.blocks.1", "not in the checkpoint")
    mistake(f"ckpt_path={weights}", f"ckpt_path={weights}", "weights only", "init_from=")
    mistake(["optimizer=sgd", f"ckpt_path={good}"], f"ckpt_path={good}", "another optimizer than SGD")
    mistake(f"init_from={tmp_path}", f"init_from={tmp_path}", "neither a run's directory")


def test_a_file_that_a_user_may_not_open_is_named_in_one_line(command, monkeypatch, tmp_path):
    """Root may open all, so the answer of the system is given here."""

    asked = Path.is_file

    def refused(self):
        if self.name == "last.ckpt":
            raise PermissionError(13, "Permission denied", str(self))
        return asked(self)

    monkeypatch.setattr(Path, "is_file", refused)
    outcome = command(*TINY, f"ckpt_path={tmp_path}/last.ckpt")
    assert outcome.status == 2
    assert outcome.stderr.strip() == f"{tmp_path}/last.ckpt: this user may not open it (Permission denied)"
