"""The runs of notebook 04: do tasks on pairs help a language model, and what do depth and width buy?

`mixture` learns all four tasks. `lm_only_updates` has as many updates, all of the next token; `lm_only_tokens` has as
many of the next token as the mixture, and none else. `deep` and `wide` learn the mixture in other shapes that take
about as many operations; how many exactly, their records tell.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from frontpage.analysis.notebooks.notebook_run import CACHE, ROOT, compose_run
from frontpage.analysis.run_set import missing_runs, train_all
from frontpage.command.build import build
from frontpage.data.parallel.loader import LM
from frontpage.data.parallel.task_order import TaskOrder

SHARED = (
    "experiment=quick_prototype trainer.accelerator=cpu trainer.precision=32-true callbacks.sample_titles=null"
).split()
SHAPES = {"mixture": (3, 64), "deep": (12, 32), "wide": (1, 104)}  # layers, width
SEEDS = {"small": (1,), "full": (1, 2, 3)}
UPDATES = "trainer.max_steps"
SIZED = {  # of the experiment, in seconds; it is no result
    "small": f"{UPDATES}=60 val_interval=60 scheduler.warmup=2 data.books=20 data.block_size=64 data.batch_size=4"
    " data.validation_examples=60 tokenizer.vocab_size=400".split(),
    "full": [],
}


def runs_folder(size: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the runs of a size lie: below FRONTPAGE_MULTITASK_RUNS, else below `logs/multitask`."""
    return Path(environment.get("FRONTPAGE_MULTITASK_RUNS") or ROOT / "logs" / "multitask") / size


def runs_of(size: str) -> dict[str, list[str]]:
    """The overrides of every run, seed after seed, by `<kind>-<seed>`."""
    found = {}
    for seed in SEEDS[size]:
        mixture = [*SHARED, *SIZED[size], f"seed={seed}"]
        alone = [*mixture, "tasks=lm_only"]
        fewer = [word for word in alone if not word.startswith(f"{UPDATES}=")]
        kinds = {name: [*mixture, *_shape(*shape)] for name, shape in SHAPES.items()}
        kinds["lm_only_updates"] = [*alone, *_shape(*SHAPES["mixture"])]
        kinds["lm_only_tokens"] = [*fewer, f"{UPDATES}={language_updates(*mixture)}", *_shape(*SHAPES["mixture"])]
        found |= {f"{kind}-{seed}": overrides for kind, overrides in kinds.items()}
    return found


def language_updates(*overrides: str) -> int:
    """How many updates of a run train the next token, by the order of its tasks."""
    config = compose_run(*overrides)
    data, accumulated = build(config.data, "data"), config.trainer.accumulate_grad_batches
    order = TaskOrder(data.weights, data.packing_seed, lambda step: step // accumulated, data.task_order)
    steps = range(config.trainer.max_steps * accumulated)
    return sum(order.at(step)[0] == LM for step in steps) // accumulated


def train_missing(size: str, folder: Path, jobs: int = 1) -> list[str]:
    """Train the runs that are not finished there, `jobs` at a time; their names. Raises what `train_all` does."""
    runs = {name: [*overrides, CACHE] for name, overrides in runs_of(size).items()}
    missing = missing_runs(runs, folder)
    train_all({name: runs[name] for name in missing}, folder, jobs)
    return missing


def _shape(layers: int, width: int) -> list[str]:
    return [f"model.n_layer={layers}", f"model.d_model={width}"]
