"""What the tests of checkpoints share: a small one on disk, and a finished run with three, to be spoiled."""

import shutil

import pytest
import torch
from programs import train_tiny

from frontpage.command.notices import forget_notices
from frontpage.runs.checkpoint_file import CheckpointFile

SMALL = {"state_dict": {"net.weight": torch.arange(64.0)}, "global_step": 7, "newest": {}}


@pytest.fixture(name="finished", scope="module")
def finished_fixture(tmp_path_factory):
    """A run with best.ckpt, last.ckpt and the one before."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "finished", "save_interval=5")


@pytest.fixture(name="run")
def run_fixture(finished, tmp_path):
    """A copy of it, to be spoiled."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(name="file")
def file_fixture(tmp_path):
    """One small checkpoint on disk."""
    forget_notices()
    CheckpointFile().save_checkpoint(SMALL, tmp_path / "small.ckpt")
    return tmp_path / "small.ckpt"
