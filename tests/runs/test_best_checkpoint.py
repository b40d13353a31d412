"""Promises of the best checkpoints: the k best are kept, each is what its name says, and best.ckpt is the best."""

import errno
import re
import shutil

import pytest
import torch
from programs import record_of
from run_outputs import score_validations
from tiny import TINY

from frontpage.runs import checkpoint_file
from frontpage.runs.checkpoint_file import CheckpointFile, update_of
from frontpage.training.callbacks import best_checkpoint
from frontpage.training.callbacks.best_checkpoint import BestCheckpoint

# Validations at 3, 6, 9, 12, 15 and 17, with these scores in place of the real ones.
RUN = (*TINY, "val_interval=3", "callbacks.sample_titles=null", "model.original_metric=never")
SCORES = {3: 5.0, 6: 2.0, 9: 3.0, 12: 1.0, 15: 4.0, 17: 6.0}


@pytest.fixture
def scored(monkeypatch):
    """Validations have the scores of SCORES."""
    score_validations(monkeypatch, SCORES)


def steps(directory):
    """The update of each file that is named by one, by its name and by its content, which must agree."""
    found = sorted((directory / "checkpoints").glob("best-update-*.ckpt"))
    named = [int(path.stem.rpartition("-")[2]) for path in found]
    assert named == [update_of(path) for path in found]
    return named


def best(directory):
    return update_of(directory / "checkpoints" / "best.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "kept"), [(1, []), (2, [6, 12]), (3, [6, 9, 12]), (-1, [3, 6, 9, 12, 15, 17])], ids=str
)
def test_the_best_are_kept_under_their_own_names_and_best_is_the_best(command, tmp_path, scored, keep, kept):
    directory = tmp_path / "run"
    outcome = command(*RUN, f"callbacks.best_checkpoint.save_top_k={keep}", f"hydra.run.dir={directory}")
    assert outcome.status == 0, outcome.stderr
    assert steps(directory) == kept and best(directory) == 12
    files = {path.name for path in (directory / "checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "last-1.ckpt", *(f"best-update-{step:06d}.ckpt" for step in kept)}
    contents = {path.stat().st_ino for path in (directory / "checkpoints").iterdir()}
    said = next(line for line in outcome.stdout.splitlines() if line.startswith("checkpoints:"))
    assert re.search(r"(\d+) kept", said)[1] == str(len(contents))


@pytest.mark.slow
def test_none_are_kept_where_none_are_asked_for(command, tmp_path):
    directory = tmp_path / "run"
    assert command(*RUN, "callbacks.best_checkpoint.save_top_k=0", f"hydra.run.dir={directory}").status == 0
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {"last.ckpt", "last-1.ckpt"}


@pytest.mark.parametrize("moment", ["before its file", "before its link", "at another update"])
@pytest.mark.slow
def test_a_run_that_broke_off_goes_on_with_its_best(command, tmp_path, monkeypatch, scored, moment):
    """Also where it broke off between last.ckpt, which knows the new best, and the file of that best."""
    directory = tmp_path / "run"
    settings = (*RUN, "callbacks.best_checkpoint.save_top_k=2", f"hydra.run.dir={directory}")
    with monkeypatch.context() as patch:
        save, link, count = best_checkpoint.save, best_checkpoint.linked, []

        def broken(function, *given):
            count.append(given)
            if len(count) == 3:  # update 9, which drops 3 from the list
                raise RuntimeError("crash")
            return function(*given)

        if moment == "before its file":
            patch.setattr(best_checkpoint, "save", lambda *given: broken(save, *given))
        elif moment == "before its link":
            patch.setattr(best_checkpoint, "linked", lambda *given: broken(link, *given))
        else:
            patch.setattr(
                "frontpage.training.callbacks.log_metrics.LogMetrics.on_train_batch_end",
                lambda self, trainer, *unused: broken(int) if trainer.global_step > 10 else None,
            )
        with pytest.raises(RuntimeError, match="crash"):
            command(*settings)
    outcome = command(*settings, "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert steps(directory) == [6, 12] and best(directory) == 12
    assert "does not hold" not in outcome.stdout
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["BestCheckpoint"]
    assert state["kept"] == [[1.0, 12], [2.0, 6]]


@pytest.mark.slow
def test_a_full_disk_in_the_middle_leaves_the_best_before_and_says_what_is_missing(
    command, tmp_path, monkeypatch, scored
):
    directory, save = tmp_path / "run", CheckpointFile.save_checkpoint

    def fill(self, checkpoint, path, *given, **options):
        with monkeypatch.context() as patch:
            if checkpoint["global_step"] == 12 and path.name.startswith("best"):
                patch.setattr("frontpage.runs.checkpoint_file.os.fsync", full)
            save(self, checkpoint, path, *given, **options)

    def full(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckpointFile, "save_checkpoint", fill)
    outcome = command(*RUN, "callbacks.best_checkpoint.save_top_k=2", f"hydra.run.dir={directory}")
    assert outcome.status == 0, outcome.stderr
    assert steps(directory) == [6, 9] and best(directory) == 6
    assert any("best.ckpt does not hold update 12, the best" in one for one in record_of(directory)["notices"])


@pytest.mark.slow
def test_best_files_that_were_taken_away_are_looked_for_anew_and_that_is_said(command, tmp_path, scored):
    directory = tmp_path / "run"
    settings = (*RUN, "callbacks.best_checkpoint.save_top_k=2", f"hydra.run.dir={directory}")
    assert command(*settings, "trainer.max_steps=9").status == 0
    (directory / "checkpoints" / "best-update-000006.ckpt").unlink()
    (directory / "checkpoints" / "best.ckpt").unlink()
    record = (directory / "run.json").read_text()
    (directory / "run.json").write_text(record.replace('"finished"', '"failed"', 1))
    outcome = command(*settings, "ckpt_path=last")
    assert outcome.status == 0 and "does not hold the best checkpoint of update 6" in outcome.stdout
    assert steps(directory) == [9, 12] and best(directory) == 12


@pytest.mark.slow
def test_another_number_to_keep_is_taken_over_with_what_is_there(command, tmp_path, scored):
    """From one to three the best gets its own name, and back to two the worst goes."""
    directory = tmp_path / "run"
    settings = (*RUN, f"hydra.run.dir={directory}")
    for keep, last, kept in ((1, 6, []), (3, 12, [6, 9, 12]), (2, 17, [6, 12])):
        if keep != 1:
            record = (directory / "run.json").read_text()
            (directory / "run.json").write_text(record.replace('"finished"', '"failed"', 1))
        number = f"callbacks.best_checkpoint.save_top_k={keep}"
        outcome = command(*settings, number, f"trainer.max_steps={last}", "ckpt_path=last")
        assert outcome.status == 0, outcome.stderr
        assert steps(directory) == kept and best(directory) == min(last, 12)


@pytest.mark.slow
def test_a_checkpoint_continued_elsewhere_brings_its_own_best_along(command, tmp_path, scored):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command(*RUN, "trainer.max_steps=12", f"hydra.run.dir={first}").status == 0
    path = f"ckpt_path={first}/checkpoints/last.ckpt"
    assert command(*RUN, f"hydra.run.dir={second}", path).status == 0
    assert best(second) == 12
    assert not (second / "checkpoints" / "best.ckpt").samefile(first / "checkpoints" / "last.ckpt")


def test_where_links_are_not_possible_best_is_a_copy(tmp_path, monkeypatch):
    def refuse(*unused):
        raise OSError(errno.EPERM, "Operation not permitted")

    CheckpointFile().save_checkpoint({"global_step": 4, "newest": {}}, tmp_path / "one.ckpt")
    monkeypatch.setattr(checkpoint_file.os, "link", refuse)
    assert checkpoint_file.linked(tmp_path / "one.ckpt", tmp_path / "best.ckpt")
    assert update_of(tmp_path / "best.ckpt") == 4 and not (tmp_path / "best.ckpt").samefile(tmp_path / "one.ckpt")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("key", "value"), [("mode", "up"), ("save_top_k", -2), ("filename", "a/b"), ("filename", "")])
def test_what_makes_no_sense_is_refused(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key}="):
        BestCheckpoint(**{"dirpath": tmp_path, "monitor": "val/loss", key: value})


def test_the_state_of_older_runs_is_taken_over(tmp_path):
    """Lightning's ModelCheckpoint kept one score for one file."""
    CheckpointFile().save_checkpoint({"global_step": 4, "newest": {}}, tmp_path / "best.ckpt")
    state = {"best_model_score": torch.tensor(2.5), "best_model_path": "/elsewhere/best.ckpt"}
    callback = BestCheckpoint(tmp_path, "val/loss")
    content = {"global_step": 9, "callbacks": {"BestCheckpoint{'monitor': 'val/loss'}": state}}
    callback.on_load_checkpoint(None, None, content)
    assert callback.kept == [(2.5, 4)]
    later = BestCheckpoint(tmp_path, "val/loss")
    later.on_load_checkpoint(None, None, content | {"global_step": 3})
    assert later.kept == [], "of an update behind the checkpoint"
    shutil.rmtree(tmp_path)
    lost = BestCheckpoint(tmp_path, "val/loss")
    lost.on_load_checkpoint(None, None, content)
    assert lost.kept == []
