"""Runs for a leaderboard: of an experiment that takes a second."""

import sys
from pathlib import Path

import pytest

import frontpage.command.program
import train

EXPERIMENT = """\
# @package _global_
defaults:
  - override /data: synthetic
  - _self_

name: tiny_record
data: {num_titles: 120, block_size: 64, batch_size: 8}
tokenizer: {vocab_size: 300}
model: {d_model: 16, n_layer: 1, n_head: 2}
trainer: {max_epochs: 1, accelerator: cpu, precision: 32-true}
"""


def train_record(folder: Path, seed: int, *overrides: str) -> Path:
    """A run of the experiment `tiny_record`, whose YAML is written below `folder`; its directory."""
    (folder / "configs" / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "experiment" / "tiny_record.yaml").write_text(EXPERIMENT)
    run = folder / ("_".join([str(seed), *overrides]).replace("=", "_"))
    words = [f"--config-dir={folder}/configs", "experiment=tiny_record", f"seed={seed}", f"hydra.run.dir={run}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words, f"paths.cache_dir={folder}/cache", *overrides])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        frontpage.command.program.program(train.train)
    return run
