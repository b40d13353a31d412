"""The runs of notebook 05: sums modulo a prime with weight decay, which are understood in the end, and without it."""

import os
from collections.abc import Mapping
from pathlib import Path

from frontpage.analysis.notebooks.notebook_run import CACHE, ROOT
from frontpage.analysis.run_set import missing_runs, train_all

SEEDS = {"small": (1,), "full": (1, 2, 3)}
SIZED = {  # of the experiment, in seconds: smaller, and too short to say anything
    "small": "data.modulus=17 data.batch_size=64 trainer.max_steps=600 model.d_model=32 callbacks.grokking.patience=200"
    " callbacks.grokking.window=150 callbacks.grokking.confirm=100 callbacks.procrustes.every=100"
    " callbacks.concept_clustering.every=100 callbacks.concept_clustering.texts=68"
    " callbacks.concept_clustering.least=4".split(),
    "full": [],
}
CONTROL = "optimizer.weight_decay=0"


def runs_folder(size: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the runs of a size lie: below FRONTPAGE_GROKKING_RUNS, else below `logs/grokking`."""
    return Path(environment.get("FRONTPAGE_GROKKING_RUNS") or ROOT / "logs" / "grokking") / size


def runs_of(size: str) -> dict[str, list[str]]:
    """The overrides of every run: `decay-<seed>`, and of the first seed `control-<seed>` without weight decay."""
    shared = ["experiment=grokking_modular", *SIZED[size]]
    found = {f"decay-{seed}": [*shared, f"seed={seed}"] for seed in SEEDS[size]}
    first = SEEDS[size][0]
    return found | {f"control-{first}": [*shared, f"seed={first}", CONTROL]}


def train_missing(size: str, folder: Path, jobs: int = 1) -> list[str]:
    """Train the runs that are not finished there, `jobs` at a time; their names. Raises what `train_all` does."""
    runs = {name: [*overrides, CACHE] for name, overrides in runs_of(size).items()}
    missing = missing_runs(runs, folder)
    train_all({name: runs[name] for name in missing}, folder, jobs)
    return missing
