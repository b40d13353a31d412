"""Promises of a checkpoint's file: whole or not there, any damage noticed, and none of its code run."""

import os
import pickle
import random
from types import SimpleNamespace

import pytest
import torch
from checkpoints import SMALL, file_fixture, finished_fixture, run_fixture  # noqa: F401
from tiny import TINY

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.runs import checked_file
from frontpage.runs.checked_file import verify
from frontpage.runs.checkpoint import newest_intact, open_checkpoint
from frontpage.runs.checkpoint_file import CheckpointFile


def test_what_is_written_comes_back_and_nothing_else_stays(file):
    assert torch.equal(CheckpointFile().load_checkpoint(file)["state_dict"]["net.weight"], torch.arange(64.0))
    assert torch.equal(open_checkpoint(file, "x").content["state_dict"]["net.weight"], torch.arange(64.0))
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.slow
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


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.slow
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
        patch.setattr(checked_file, "os", SimpleNamespace(**system, O_RDONLY=os.O_RDONLY))
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


@pytest.mark.slow
def test_random_positions_in_a_real_checkpoint(run):
    """The same as for the small file, for what a run writes: a thousandth of its bits would take too long."""
    path, chosen = run / "checkpoints" / "last.ckpt", random.Random(0)
    content = path.read_bytes()
    body = len(content) - len(checked_file.MAGIC) - checked_file.DIGEST
    for _ in range(20):
        damaged = bytearray(content)
        damaged[chosen.randrange(body)] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum"):
            verify(path)
