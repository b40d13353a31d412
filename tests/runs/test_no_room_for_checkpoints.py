"""Promises of checkpoints on a full disk: the old one stays, the run goes on, and its end is not called one."""

import errno
import os
from types import SimpleNamespace

import pytest
from checkpoints import SMALL, file_fixture  # noqa: F401
from programs import record_of
from tiny import TINY

from frontpage.command.notices import notices
from frontpage.runs import checkpoint_file
from frontpage.runs.checkpoint_file import CheckpointFile, update_of


def full_disk(patch, way):
    """A disk without room: as the system says beforehand, or while the file is written."""

    def refuse(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    if way == "before":
        patch.setattr(checkpoint_file.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    else:
        patch.setattr(checkpoint_file.os, "fsync", refuse)


@pytest.mark.parametrize("way", ["before", "while writing"])
def test_a_full_disk_keeps_the_old_checkpoint_and_says_so_each_time(file, monkeypatch, way):
    old = file.read_bytes()
    with monkeypatch.context() as patch:
        full_disk(patch, way)
        for step in (8, 9):
            CheckpointFile().save_checkpoint({**SMALL, "global_step": step}, file, {"before": file.parent / "old.ckpt"})
    assert file.read_bytes() == old and os.listdir(file.parent) == [file.name]
    assert len(notices()) == 2 and all("the disk is full" in one and str(file) in one for one in notices())
    assert "update 8" in notices()[0] and "update 9" in notices()[1]


def test_another_error_of_the_disk_is_not_hidden(file, monkeypatch):
    def broken(*unused):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint_file.os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        CheckpointFile().save_checkpoint(SMALL, file)
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_to_its_end_and_is_not_finished(command, run_directories, monkeypatch):
    with monkeypatch.context() as patch:
        full_disk(patch, "before")
        outcome = command(*TINY, "trainer.max_steps=4", "save_interval=2")
    assert outcome.status == 1 and "Traceback" not in outcome.stderr
    assert "last.ckpt does not hold update 4" in outcome.stderr and "the disk is full" in outcome.stdout
    record = record_of(run_directories()[0])
    assert record["status"] == "interrupted" and record["steps"] == 4 and "NotSaved" in record["reason"]
    for name, step in (("last", 2), ("last", 4), ("best", 4)):
        assert any(f"{name}.ckpt was not written at update {step}" in one for one in record["notices"])
    (directory,) = run_directories()
    again = command(*TINY, "trainer.max_steps=4", "save_interval=2", f"hydra.run.dir={directory}", "ckpt_path=last")
    assert again.status == 0 and record_of(directory)["status"] == "finished"
    assert update_of(directory / "checkpoints" / "last.ckpt") == 4


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_only_costs_no_more_than_the_updates_since(command, tmp_path, monkeypatch):
    """The issue's own case: the run had a best and a last checkpoint, and its end has no room."""
    settings, save = (*TINY, "val_interval=5", f"hydra.run.dir={tmp_path}/run"), CheckpointFile.save_checkpoint
    folder = tmp_path / "run" / "checkpoints"

    def fill(self, checkpoint, *given, **options):
        with monkeypatch.context() as patch:
            if checkpoint["global_step"] == 17:
                full_disk(patch, "while writing")
            save(self, checkpoint, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "save_checkpoint", fill)
        assert command(*settings).status == 1
    assert (update_of(folder / "last.ckpt"), update_of(folder / "best.ckpt")) == (15, 15)
    assert record_of(tmp_path / "run")["status"] == "interrupted"
    outcome = command(*settings, "ckpt_path=last")
    assert outcome.status == 0 and "run.json tells of update 17" in outcome.stdout
    assert (update_of(folder / "last.ckpt"), update_of(folder / "best.ckpt")) == (17, 17)
    record = record_of(tmp_path / "run")
    assert record["status"] == "finished"
    assert record["checkpoint"]["update"] == 17 and len(record["checkpoint"]["digest"]) == 64
