"""A folder of run directories as `train.py` leaves them, written by hand."""

import copy
import json
from pathlib import Path

import pytest

from frontpage.command.notices import forget_notices

NASTY = "</script><script>document.title='broken'</script> <b>& \"it's\""
CONFIG = {
    "name": "one",
    "seed": 1,
    "data": {"_target_": "frontpage.data.synthetic.SyntheticTitles", "path": None, "batch_size": 8},
    "model": {
        "_target_": "frontpage.recipe.modules.GPTModule",
        "attention": {"_target_": "frontpage.attention.local.LocalAttention", "_partial_": True, "window": 8},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "n_layer": 2,
    },
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3, "betas": [0.9, 0.95]},
    "paths": {"run_dir": "/somewhere"},
}
FINAL = {"val/nats_per_char": 1.5, "val/nats_per_char_se": 0.01, "val/loss": 3.25, "val/mainrun_loss": None}
RECORD = {
    "status": "finished",
    "config": CONFIG,
    "git_commit": "0123456789abcdef",
    "git_dirty": True,
    "parameters": 12_345,
    "steps": 10,
    "tokens_seen": 2_560,
    "seconds": 2.5,
    "peak_memory_bytes": 2**30,
    "estimated_memory_bytes": 2**29,
    "tokens_per_second": 1024.0,
    "data": {"source": "embedded grammar", "fingerprint": "x"},
    "metrics": {"final": FINAL, "best": {"val/nats_per_char": 1.25, "step": 7}},
}


@pytest.fixture(autouse=True)
def fresh():
    forget_notices()


def write_run(directory: Path, loss: float = 1.5, **config) -> Path:
    """A run's directory as far as the table reads it, `config` by dotted keys with _ for a point."""
    record = copy.deepcopy(RECORD)
    record["metrics"]["final"]["val/nats_per_char"] = loss
    for key, value in config.items():
        *groups, last = key.split("__")
        node = record["config"]
        for group in groups:
            node = node[group]
        node[last] = value
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return directory


@pytest.fixture
def folder(tmp_path):
    """Three runs, and three that a crash has damaged."""
    write_run(tmp_path / "logs" / "a", 1.5)
    write_run(tmp_path / "logs" / "b", 1.25, optimizer__lr=5e-3, data__batch_size=16)
    write_run(tmp_path / "logs" / "deeper" / "a", 1.75, name="<two>")
    for name, text in {"cut": '{"status": "run', "list": "[]", "empty": '{"status": "running"}'}.items():
        (tmp_path / "logs" / name).mkdir()
        (tmp_path / "logs" / name / "run.json").write_text(text)
    (tmp_path / "logs" / "begun").mkdir()
    (tmp_path / "logs" / "begun" / "run.lock").touch()
    return tmp_path / "logs"


# The table
