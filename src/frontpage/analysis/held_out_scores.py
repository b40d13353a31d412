"""What a run holds out of a corpus that is no file of titles, scored with its weights: every metric of a validation."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build_stored
from frontpage.command.progress_line import ProgressLine
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.data.run_data import RunData
from frontpage.evaluation.floor import floor_of
from frontpage.recipe.language_module import LanguageModule


class _Watched(L.Callback):
    """Says how far a validation is."""

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.line = ProgressLine("scoring", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any) -> None:
        self.line.advance(1)

    def on_validation_end(self, *_: Any) -> None:
        self.line.close()


def score_held_out(
    run: str, config: DictConfig, module: LanguageModule, root: str | None, trusted: Iterable[Path | str] = ()
) -> dict[str, Any]:
    """The metrics on what the run holds out, or on what its split holds out of the parallel corpus at `root`.

    Of parallel text, `chance` has what guessing would score, and `characters` what their frequencies alone would;
    `floor` is the least loss that is possible and `best` the best accuracy of each task, where those are known. A task
    of which another corpus has no examples is left out, and a notice says so. UserError for a corpus that cannot be
    read.
    """
    alone = {"root": root, **({"path": None} if "path" in config.data else {})}  # not beside the run's own
    settings = config.data if root is None else OmegaConf.merge(config.data, alone)
    data: RunData = build_stored(settings, "data", run, trusted)
    data.make_tokenizer = lambda texts: module.tokenizer
    data.measured_alone = root is not None
    trainer = L.Trainer(
        accelerator=module.device.type if module.device.type != "mps" else "auto",
        devices=1,
        precision="32-true",
        callbacks=[_Watched()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with tempfile.TemporaryDirectory() as data.cache_dir:  # of another tokenizer than the corpus's own: kept nowhere
        trainer.validate(module, datamodule=data, verbose=False)
    scores = {"data": data.description(), "metrics": module.metrics, "chance": data.chances(), "floor": floor_of(data)}
    if not isinstance(data, ParallelData):
        return scores
    best = {name: task.best_possible((data.text.best or {}).get(name)) for name, task in data.example_tasks.items()}
    return scores | {"best": best if data.text.best else None, "characters": data.character_nats()}
