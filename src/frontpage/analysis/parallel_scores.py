"""The held-out books of a parallel corpus, scored with a run's weights: every metric of a validation."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build_stored
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.evaluation.floor import floor_of
from frontpage.recipe.multi_task_module import MultiTaskModule


def score_parallel(
    run: str, config: DictConfig, module: MultiTaskModule, root: str | None, trusted: Iterable[Path | str] = ()
) -> dict[str, Any]:
    """The metrics on the books that the run holds out, or those that its split holds out of the corpus at `root`.

    `chance` has what guessing would score, `floor` the least loss that is possible where that is known. UserError for
    a corpus that cannot be read, or has no examples of a task.
    """
    settings = config.data if root is None else OmegaConf.merge(config.data, {"root": root})
    data: ParallelData = build_stored(settings, "data", run, trusted)
    data.make_tokenizer = lambda texts: module.tokenizer
    trainer = L.Trainer(
        accelerator=module.device.type if module.device.type != "mps" else "auto",
        devices=1,
        precision="32-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with tempfile.TemporaryDirectory() as data.cache_dir:  # of another tokenizer than the corpus's own: kept nowhere
        trainer.validate(module, datamodule=data, verbose=False)
    return {
        "data": data.description(),
        "metrics": module.metrics,
        "chance": data.chances(),
        "floor": floor_of(data),
        "best": data.text.best,
        "characters": data.character_nats(),
    }
