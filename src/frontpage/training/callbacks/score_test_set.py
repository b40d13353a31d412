"""ScoreTestSet: the test set, scored once, at the end, with the best weights, and only on request (`test=true`)."""

from pathlib import Path

import lightning as L
import numpy as np

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.documents import APART
from frontpage.data.title_file import TitleFile
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles, seen_in_training, title_hashes
from frontpage.training.callbacks.best_checkpoint import kept_best
from frontpage.training.callbacks.record_run import RecordRun


class ScoreTestSet(L.Callback):
    """Scores `data.test_path` with the best checkpoint of the run in `directory`, before the run's files are closed.

    The metrics are those of `docs/metrics.md`, named `test/...`; they go to `run.json` as `test` and to every logger.
    `metrics_unseen`, in `run.json` alone, leaves out the titles that the weights were trained on, as
    `scripts/evaluate.py` does (with `data.join` the documents that have one): null where none is left.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._test = TitleFile([], APART, 0)

    def check(self, trainer: L.Trainer) -> None:
        """Raise a UserError where no callback keeps the best weights, so that there would be nothing to score."""
        allowed = "scores the run's best checkpoint; callbacks.best_checkpoint must be there, its save_top_k not 0"
        if kept_best(trainer) is None:
            raise BadValue("test", True, allowed)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Read the titles, and say which of them are no test: both are better known before training."""
        data = trainer.datamodule
        self._test = data.test_set()
        known = load_training_titles(Run(self.directory))  # of this run, and of those that its first weights come from
        known = title_hashes(data.training_texts()) if known is None else known
        chosen = title_hashes(data.validation_texts())
        for hashes, what in ((known, "trains on"), (chosen, "chooses its best weights on")):
            count = int(seen_in_training(self._test.titles, hashes).sum())
            if count:
                titles = len(self._test.titles)
                share = f"{count:,} of its {titles:,} titles ({count / titles:.1%})"
                notice(f"data.test_path={data.test_path}: the run {what} {share}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score, log, and leave the result to the record, which is written next."""
        if not trainer.is_global_zero:
            return
        # Its own run: what this command has composed.
        config, module = load_run(self.directory, str(kept_best(trainer).best), trusted=[self.directory])
        titles, documents, _ = self._test
        scored = ScoredTitles(module, titles, config.data, documents=documents)
        metrics = _named(scored, None)
        known = load_training_titles(Run(self.directory))
        seen = None if known is None else seen_in_training(titles, known)
        known_of = None if seen is None else documents.with_any(seen)
        unseen = None if seen is None or known_of.all() else _named(scored, ~known_of) if seen.any() else metrics
        # Behind the last update, so that a run that breaks off now and is continued tells it once.
        logged = {name: value for name, value in metrics.items() if value is not None}
        trainer._logger_connector.log_metrics(logged, step=trainer.global_step)
        record = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun))
        record.record["test"] = {
            "source": str(trainer.datamodule.test_path),
            "titles": len(titles),
            "seen_titles": None if seen is None else int(seen.sum()),
            "seen_share": None if seen is None else float(seen.mean()),
            "metrics": metrics,
            "metrics_unseen": unseen,
        }


def _named(scored: ScoredTitles, chosen: np.ndarray | None) -> dict[str, float | None]:
    metrics = scored.metrics(chosen) | scored.metrics_of_the_stream(chosen)
    return {name.replace("val/", "test/", 1): value for name, value in metrics.items()}
