"""MlflowRun: a run in an MLflow store, a database of this machine or a server."""

import contextlib
import hashlib
import logging
import os
import sqlite3
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from frontpage.command.endings import Interrupted, Pruned
from frontpage.command.errors import BadValue
from frontpage.command.extras import installing
from frontpage.command.job import study_of_job
from frontpage.command.limits import Text
from frontpage.command.notices import notice

FILES = ("config.yaml", "run.json", "metrics.csv", "events.jsonl", "samples.txt")  # kept with the run at its end
LOCAL = "sqlite:///"
# Read by the package when it is imported: no reports of its use, and an answer soon where a server is not there.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
SILENCE = 300.0  # seconds without another try to log values, after a store has not answered
RUN = "frontpage.run"  # the tag by which a resumed run finds its own


class MlflowRun(MLFlowLogger):
    """Logs to the MLflow store `uri`, `sqlite:///FILE` or a server; the variable MLFLOW_TRACKING_URI wins over it.

    Runs of one `experiment` are shown together (null: the study's name in a search, else `frontpage`). FILES of the
    run's `directory` are copied to the store at the end. A resumed run continues its own run there, whose parameters
    stay those of its start. ImportError names the extra to install; UserError where the store cannot be used.
    """

    def __init__(self, directory: str | Path, uri: Text, name: str, experiment: Text | None = None) -> None:
        for variable, value in SETTINGS.items():
            os.environ.setdefault(variable, value)
        try:
            import mlflow  # noqa: F401
        except ImportError as error:
            raise ImportError(f"needs the extra `mlflow`: {installing('mlflow')}") from error
        for library in ("mlflow", "alembic"):  # they tell of each table that they make
            logging.getLogger(library).setLevel(logging.WARNING)
        self.directory, self.uri = Path(directory), os.environ.get("MLFLOW_TRACKING_URI") or uri
        if self.uri.startswith("file:") or "://" not in self.uri:
            raise BadValue(
                "logger.mlflow.uri", self.uri, "sqlite:///FILE or the URL of a server; folders are of the past"
            )
        self._fresh, self._resumed, self._silent_until, artifacts = False, False, 0.0, None
        if self.uri.startswith(LOCAL):
            file = Path(self.uri.removeprefix(LOCAL)).absolute()
            artifacts = file.with_suffix("").as_uri()
            self._check(file)
        self._digest = hashlib.blake2b(str(self.directory.resolve()).encode(), digest_size=16).hexdigest()
        super().__init__(
            experiment_name=experiment or study_of_job() or "frontpage",
            run_name=name,
            tracking_uri=self.uri,
            tags={RUN: self._digest, "directory": str(self.directory)},
            artifact_location=artifacts,
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The store's client; UserError where the store cannot be used."""
        if self._initialized:
            return self._mlflow_client
        from mlflow.exceptions import MlflowException

        try:
            self._run_id = self._earlier_id()
            self._resumed = self._run_id is not None
            client, self._fresh = super().experiment, False
            if self._resumed:
                client.update_run(self._run_id, status="RUNNING")
            return client
        except MlflowException as error:
            raise BadValue("logger.mlflow.uri", self.uri, f"cannot be used ({str(error).splitlines()[0]})") from error

    def rewind(self, step: int) -> None:
        """A run that begins at update 0 is another one than whatever has lain in its folder before."""
        self._fresh = step == 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values; a store that does not answer costs a notice, not the run."""
        if time.monotonic() >= self._silent_until:  # each try takes up to a minute
            with self._telling_of_failures("values are missing there, for some minutes at least"):
                self._silent_until = time.monotonic() + SILENCE
                super().log_metrics(metrics, step)
                self._silent_until = 0.0

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *more: Any) -> None:
        """Log the config; the store lets no parameter change, so that a resumed run keeps those of its start."""
        if self.experiment and not self._resumed:
            with self._telling_of_failures("the config is missing there"):
                super().log_hyperparams(params)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Copy what the run leaves, and say how it ended."""
        if not self._initialized:
            return
        self._initialized = False  # a later use finds it again
        error = sys.exc_info()[1]
        broken = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
        with self._telling_of_failures("it does not have the run's files, nor how it ended"):
            for path in (self.directory / name for name in FILES):
                if path.is_file():
                    self._mlflow_client.log_artifact(self._run_id, str(path))
            self._mlflow_client.set_terminated(
                self._run_id, "FINISHED" if status == "success" or isinstance(error, Pruned) else broken
            )

    @contextlib.contextmanager
    def _telling_of_failures(self, lost: str) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            why = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            notice(f"logger.mlflow.uri={self.uri}: {lost} ({why})")

    def _check(self, file: Path) -> None:
        """Raise a UserError where there is no database and none can be: MLflow would try for an hour."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA schema_version")
        except (OSError, sqlite3.Error) as error:
            raise BadValue("logger.mlflow.uri", self.uri, f"cannot be used ({error})") from error

    def _earlier_id(self) -> str | None:
        """The id of the run that an earlier session of this directory has left in the store, or None."""
        if self._fresh:
            return None
        found = self._mlflow_client.get_experiment_by_name(self._experiment_name)
        if found is None:
            return None
        runs = self._mlflow_client.search_runs([found.experiment_id], f"tags.`{RUN}` = '{self._digest}'", max_results=1)
        return runs[0].info.run_id if runs else None
