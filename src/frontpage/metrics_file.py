"""MetricsFile: `metrics.csv` in the run's directory, continued by a resumed run."""

import csv
import os
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class _ContinuedFile(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """Keep what an earlier session wrote (Lightning would delete it)."""
        if os.path.isfile(self.metrics_file_path):
            with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


class MetricsFile(CSVLogger):
    """Writes every logged value to `directory/metrics.csv`, a row a logging step; a new column rewrites the header."""

    def __init__(self, directory: str | Path, flush_every: int = 50) -> None:
        super().__init__(directory, name="", version="", flush_logs_every_n_steps=flush_every)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The file's writer."""
        if self._experiment is None:
            self._experiment = _ContinuedFile(log_dir=self.log_dir)
        return self._experiment
