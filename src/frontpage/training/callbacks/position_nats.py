"""PositionNats: what the best weights make of their context, nats a character by position, measured at a run's end."""

from pathlib import Path

import lightning as L

from frontpage.command.errors import BadValue, UserError
from frontpage.data.run_data import RunData
from frontpage.data.title_data import TitleData
from frontpage.evaluation.positions import nats_by_position
from frontpage.runs.reopen import load_run
from frontpage.training.callbacks.best_checkpoint import kept_best
from frontpage.training.callbacks.record_run import RecordRun


class PositionNats(L.Callback):
    """Scores the validation documents once more with the best checkpoint of the run in `directory`, before it closes.

    `run.json` has a PositionRow for each power of two as `nats_by_position`; `make report` draws them.
    """

    key = "callbacks.position_nats"

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    def check(self, trainer: L.Trainer, data: RunData) -> None:
        """Raise a UserError for a corpus without titles, and where no callback keeps the best weights."""
        if not isinstance(data, TitleData):
            raise UserError(f"{self.key}: {type(data).__name__} has no titles, whose nats it sums by position")
        if kept_best(trainer) is None:
            allowed = "null; it scores the run's best checkpoint: callbacks.best_checkpoint with save_top_k not 0"
            raise BadValue(self.key, self.directory, allowed)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score, and leave the result to the record, which is written next."""
        if not trainer.is_global_zero:
            return
        data: TitleData = trainer.datamodule
        # Its own run: what this command has composed.
        config, module = load_run(self.directory, str(kept_best(trainer).best), trusted=[self.directory])
        found = nats_by_position(module, data.validation, data.sizes, config.data)
        record = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun))
        record.record["nats_by_position"] = [one.as_dict() for one in found]
