"""ScoreTestSet: the test set, scored once, at the end, with the best weights, and only on request (`test=true`)."""

from pathlib import Path

import lightning as L

from frontpage.callbacks.record_run import RecordRun
from frontpage.evaluation.score import ScoredTitles
from frontpage.runs import load_run


class ScoreTestSet(L.Callback):
    """Scores `data.test_path` with the best checkpoint of the run in `directory`, before the run's files are closed.

    The metrics are those of `evaluation.md`, named `test/...`; they go to `run.json` as `test` and to every logger.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._titles: list[str] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Read the titles: a file that cannot be read is better known before training."""
        self._titles = trainer.datamodule.test_titles()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score, log, and leave the result to the record, which is written next."""
        if not trainer.is_global_zero:
            return
        # Its own run: what this command has composed.
        config, module = load_run(self.directory, trusted=[self.directory])
        scored = ScoredTitles(module, self._titles, config.data)
        found = scored.metrics() | scored.metrics_of_the_stream()
        metrics = {name.replace("val/", "test/", 1): value for name, value in found.items()}
        known = {name: value for name, value in metrics.items() if value is not None}
        for logger in trainer.loggers:
            # Behind the last update, so that a run that breaks off now and is continued tells it once.
            logger.log_metrics(known, step=trainer.global_step)
        source = {"source": str(trainer.datamodule.test_path), "titles": len(self._titles)}
        record = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun))
        record.record["test"] = source | {"metrics": metrics}
