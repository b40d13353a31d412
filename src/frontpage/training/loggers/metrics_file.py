"""MetricsFile: `metrics.csv` in the run's directory, continued by a resumed run."""

import csv
import os
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from frontpage.command.disk_full import replacing, writing
from frontpage.runs.metrics_table import read_table, step_of


class _ContinuedFile(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """Keep what an earlier session wrote (Lightning would delete it)."""
        if os.path.isfile(self.metrics_file_path):
            self.metrics_keys = read_table(self.metrics_file_path)[0]

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Replace the file in one step (Lightning would empty it first)."""
        _replace(self.metrics_file_path, fieldnames, read_table(self.metrics_file_path)[1])


class MetricsFile(CSVLogger):
    """Writes every logged value to `directory/metrics.csv`, a row a logging step; a new column rewrites the header.

    Lightning has each row written at once.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__(directory, name="", version="")

    def save(self) -> None:
        """Write the rows that are waiting."""
        with writing(self.path):
            super().save()

    def rewind(self, step: int) -> None:
        """Forget the rows behind update `step`, the row of which is numbered `step - 1`: they are written again."""
        path = self.path
        if os.path.isfile(path):
            keys, rows = read_table(path)
            _replace(path, keys, [row for row in rows if step_of(row) < step])

    @property
    def path(self) -> str:
        """The file."""
        return os.path.join(self.log_dir, ExperimentWriter.NAME_METRICS_FILE)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The file's writer."""
        if self._experiment is None:
            self._experiment = _ContinuedFile(log_dir=self.log_dir)
        return self._experiment


def _replace(path: str, keys: list[str], rows: list[dict[str, str]]) -> None:
    if not keys:  # cut off within its first line
        os.remove(path)
        return
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
