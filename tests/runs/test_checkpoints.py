"""Promises of checkpoints: whole or not there, never believed when damaged, never a reason to lose a run."""

import errno
import os
import pickle
import random
import shutil
from types import SimpleNamespace

import pytest
import torch
from programs import record_of, train_tiny, weights_of
from run_outputs import losses_of
from tiny import TINY

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.runs import checkpoint_file
from frontpage.runs.checkpoint import newest_intact, open_checkpoint
from frontpage.runs.checkpoint_file import CheckpointFile, update_of, verify

SMALL = {"state_dict": {"net.weight": torch.arange(64.0)}, "global_step": 7, "newest": {}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with best.ckpt, last.ckpt and the one before."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "finished", "save_interval=5")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, to be spoiled."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def file(tmp_path):
    """One small checkpoint on disk."""
    forget_notices()
    CheckpointFile().save_checkpoint(SMALL, tmp_path / "small.ckpt")
    return tmp_path / "small.ckpt"


def tear(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_what_is_written_comes_back_and_nothing_else_stays(file):
    assert torch.equal(CheckpointFile().load_checkpoint(file)["state_dict"]["net.weight"], torch.arange(64.0))
    assert torch.equal(open_checkpoint(file, "x").content["state_dict"]["net.weight"], torch.arange(64.0))
    assert os.listdir(file.parent) == [file.name]


def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(file):
    content = file.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            verify(file)
        except ValueError:
            continue
        got = torch.load(file, weights_only=True)
        assert got["global_step"] == 7 and torch.equal(got["state_dict"]["net.weight"], torch.arange(64.0)), position


@pytest.mark.parametrize("lost", [1, 20, 49, 60, 500])
def test_a_torn_file_is_not_readable(file, lost):
    """Not even one that has lost its checksum alone: the archive before it is whole then."""
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(UserError, match=str(file)):
        open_checkpoint(file, "ckpt_path")
    with pytest.raises((ValueError, RuntimeError)):
        CheckpointFile().load_checkpoint(file)


def test_a_file_from_elsewhere_is_taken_where_it_is_named_and_that_is_said(tmp_path):
    forget_notices()
    path = tmp_path / "elsewhere.ckpt"
    torch.save({"state_dict": SMALL["state_dict"], "global_step": 99}, path)
    assert torch.equal(open_checkpoint(path, "init_from").content["state_dict"]["net.weight"], torch.arange(64.0))
    assert [one for one in notices() if "no checksum" in one and str(path) in one]
    assert newest_intact(tmp_path) is None  # ckpt_path=last, which names none, does not take it


def test_the_newest_is_the_one_of_the_latest_update_whatever_the_times_of_the_files(run):
    """`cp -r` gives the files other times; of the same update `last.ckpt` goes first."""
    folder = run / "checkpoints"
    assert newest_intact(folder).path == folder / "last.ckpt"
    for order in (["last", "best", "last-1"], ["last-1", "best", "last"]):
        for time, name in enumerate(order):
            os.utime(folder / f"{name}.ckpt", (time, time))
        assert newest_intact(folder).path == folder / "last.ckpt"
    (folder / "last.ckpt").unlink()
    assert newest_intact(folder).path == folder / "best.ckpt"


def test_a_start_reads_a_checkpoint_for_its_checksum_once(run, command, monkeypatch):
    read = []

    def note(path):
        read.append(path.name)
        return verify(path)

    monkeypatch.setattr(checkpoint_file, "verify", note)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last", "trainer.max_epochs=2")
    assert outcome.status == 0, outcome.stderr
    before_the_end = read[: -read[::-1].index("last.ckpt") - 1]  # the last look is at what the end has written
    assert before_the_end.count("last.ckpt") == 1 and before_the_end.count("best.ckpt") == 1


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run_it(tmp_path, command):
    path, trace = tmp_path / "evil.ckpt", tmp_path / "was_here"
    CheckpointFile().save_checkpoint({**SMALL, "callbacks": Malicious(trace)}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        open_checkpoint(path, "ckpt_path")
    with pytest.raises(pickle.UnpicklingError):
        CheckpointFile().load_checkpoint(path, weights_only=False)
    for key in ("ckpt_path", "init_from"):
        outcome = command(*TINY, f"{key}={path}")
        assert outcome.status == 2 and "not a readable checkpoint" in outcome.stderr
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file was harmless, so the test showed nothing"


def test_a_torn_last_checkpoint_is_passed_over_for_the_one_before_and_the_end_is_the_same(run, command):
    tear(run / "checkpoints" / "last.ckpt")
    (run / "checkpoints" / "best.ckpt").unlink()
    (run / "run.json").write_text('{"status": "running"}')
    expected = losses_of(run)
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert f"{run}/checkpoints/last.ckpt is damaged" in outcome.stdout
    assert losses_of(run) == expected
    assert any("last.ckpt is damaged" in notice for notice in record_of(run)["notices"])


def test_a_torn_checkpoint_that_is_named_is_refused_with_the_newest_intact_one(run, command):
    folder = run / "checkpoints"
    tear(folder / "last.ckpt")
    outcome = command(*TINY, f"ckpt_path={folder}/last.ckpt")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    assert f"ckpt_path={folder}/last.ckpt: not a readable checkpoint" in outcome.stderr
    assert f"the newest intact one beside it is {newest_intact(folder).path}" in outcome.stderr


def test_a_bit_flipped_inside_a_weight_is_not_trained_on(run, command):
    path = run / "checkpoints" / "last.ckpt"
    content, weight = bytearray(path.read_bytes()), next(iter(weights_of(run).values()))
    content[content.index(weight.numpy().tobytes()[:64]) + 3] ^= 1
    path.write_bytes(content)
    outcome = command(*TINY, f"ckpt_path={path}")
    assert outcome.status == 2 and "its checksum is wrong" in outcome.stderr


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer=sgd", ["another optimizer than SGD", "betas (only in the checkpoint)"]),
        ("callbacks=ema", ["no averaged weights", "callbacks=ema"]),
    ],
)
def test_what_cannot_be_continued_says_what_differs(finished, command, override, words):
    outcome = command(*TINY, override, f"ckpt_path={finished}/checkpoints/last.ckpt")
    assert outcome.status == 2
    assert all(word in outcome.stderr for word in words), outcome.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lr=0.002"], ["optimizer.lr=0.002 (was 0.001)", "init_from"]),
        (
            ["optimizer.betas=[0.8,0.9]", "seed=2"],
            ["optimizer.betas=[0.8, 0.9] (was [0.9, 0.95])", "seed=2 (was 1337)"],
        ),
        (["data.batch_size=4"], ["data.batch_size=4 (was 8)"]),
        (["data.seed=2"], ["data.seed=2 (was 1337)"]),
        (["trainer.max_steps=3"], ["stands at update 17", "trainer.max_steps end the run at 3"]),
    ],
)
def test_what_a_checkpoint_has_settled_cannot_be_set_anew(finished, command, overrides, words):
    outcome = command(*TINY, *overrides, f"ckpt_path={finished}/checkpoints/last.ckpt")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_settings_that_hold_from_now_on_are_said_once(run, command):
    """And nothing is said of those that follow from them, of places, or of a run that is continued as it was."""
    (run / "run.json").write_text((run / "run.json").read_text().replace('"status": "finished"', '"status": "failed"'))
    changed = ("trainer.max_epochs=2", "scheduler.warmup=3", "val_interval=20", "callbacks.loss_spike=null")
    outcome = command(*TINY, "save_interval=5", *changed, f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    (said,) = [notice for notice in record_of(run)["notices"] if "other settings" in notice]
    assert said.endswith(
        "scheduler.warmup=3 (was 0), trainer.max_epochs=2 (was 1), callbacks.loss_spike=null (was LossSpike)"
    )
    assert "val_interval=20 (was null)" in said and "trainer.val_interval" not in said
    path = run.rename(run.parent / "moved") / "checkpoints" / "last-1.ckpt"
    outcome = command(*TINY, "save_interval=5", *changed, f"ckpt_path={path}")
    assert outcome.status == 0 and "other settings" not in outcome.stdout


def test_callbacks_that_differ_are_named_on_the_console(run, command):
    path = run / "checkpoints" / "last-1.ckpt"
    outcome = command(
        *TINY, "callbacks=early_stopping", f"ckpt_path={path}", "hydra.run.dir=" + str(run.parent / "new")
    )
    assert outcome.status == 0, outcome.stderr
    assert "EarlyStopping" in outcome.stdout and "not in the checkpoint" in outcome.stdout


def test_a_run_whose_directory_was_moved_still_knows_its_best(run, command):
    """The best is made unbeatable; a resumed run in another place must not replace it by its own next validation."""
    folder = run / "checkpoints"
    state = torch.load(folder / "last-1.ckpt", weights_only=True)
    state["callbacks"]["BestCheckpoint"]["kept"] = [[0.0, state["global_step"]]]
    for path in folder.iterdir():
        path.unlink()
    for name in ("best", "last"):
        CheckpointFile().save_checkpoint(state, folder / f"{name}.ckpt")
    kept = (folder / "best.ckpt").read_bytes()
    (run / "run.json").write_text('{"status": "running"}')
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0 and "validation_step" in outcome.stdout
    assert (folder / "best.ckpt").read_bytes() == kept


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


@pytest.mark.parametrize("lost", ["last.ckpt", "all"])
def test_a_finished_run_whose_end_is_lost_is_not_called_finished(run, command, lost):
    """It goes on from what there is; where nothing is left it is refused, and nothing of it is changed."""
    for path in list((run / "checkpoints").iterdir()):
        if lost == "all" or path.name != "last-1.ckpt":
            path.unlink()
    before = (run / "run.json").read_bytes()
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    if lost == "all":
        assert outcome.status == 2 and "finished at update 17, and no checkpoint of it is left" in outcome.stderr
        assert (run / "run.json").read_bytes() == before
    else:
        assert outcome.status == 0, outcome.stderr
        assert (
            "run.json tells of update 17, its newest intact checkpoint, last-1.ckpt, is of update 15" in outcome.stdout
        )
        assert update_of(run / "checkpoints" / "last.ckpt") == 17


def test_what_lies_in_the_place_of_a_runs_files_is_told_and_what_a_crash_left_is_cleared(run, command):
    last = (*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    left = [run / "metrics.csv.partial", run / "run.json.partial", run / "checkpoints" / "last.ckpt.partial"]
    for path in left:
        path.write_bytes(b"half")
    assert command(*last).status == 0
    assert not any(path.exists() for path in left)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    left[2].mkdir()
    outcome = command(*last)
    assert outcome.status == 2 and f"{left[2]} is a folder" in outcome.stderr
    left[2].rmdir()
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("a file")
    outcome = command(*last)
    assert outcome.status == 2 and "checkpoints is a file" in outcome.stderr
    assert (run / "checkpoints").read_text() == "a file"


@pytest.mark.parametrize(
    "record", ["[]", '"text"', "3", '{"status": "finished", "steps": "x", "config": []}', '{"data": 1}']
)
def test_a_record_of_another_form_takes_no_resume_down(run, command, record):
    (run / "run.json").write_text(record)
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr


@pytest.mark.parametrize("moment", range(7))
def test_a_crash_between_any_two_calls_leaves_an_intact_checkpoint(file, monkeypatch, moment):
    """From the n-th call on nothing happens any more: no renaming, no cleaning up."""
    calls = []

    def dying(function):
        def call(*arguments, **options):
            calls.append(function)
            if len(calls) > moment:
                raise SystemExit
            return function(*arguments, **options)

        return call

    system = {name: dying(getattr(os, name)) for name in ("fsync", "replace", "open", "close")}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file, "os", SimpleNamespace(**system, O_RDONLY=os.O_RDONLY))
        patch.setattr(type(file), "unlink", lambda path, missing_ok=False: None)
        try:
            CheckpointFile().save_checkpoint({**SMALL, "global_step": 8}, file, {"before": file.with_name("old.ckpt")})
        except SystemExit:
            assert moment < 6
    assert len(calls) >= min(moment + 1, 6)
    intact = [open_checkpoint(path, "x").content["global_step"] for path in file.parent.glob("*.ckpt")]
    assert intact and set(intact) <= {7, 8}
    if moment >= 6:
        assert open_checkpoint(file, "x").content["global_step"] == 8


def test_random_positions_in_a_real_checkpoint(run):
    """The same as for the small file, for what a run writes: a thousandth of its bits would take too long."""
    path, chosen = run / "checkpoints" / "last.ckpt", random.Random(0)
    content = path.read_bytes()
    body = len(content) - len(checkpoint_file.MAGIC) - checkpoint_file.DIGEST
    for _ in range(20):
        damaged = bytearray(content)
        damaged[chosen.randrange(body)] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum"):
            verify(path)
