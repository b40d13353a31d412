"""EventLog: `events.jsonl`, one JSON object a line, and the validation lines on the console."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L
from tqdm import tqdm

from frontpage.command.disk_full import writing
from frontpage.command.json_file import strict_json
from frontpage.machine.accelerator import device_name
from frontpage.runs.kept_lines import keep_lines
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.loggers.metrics_file import MetricsFile

STEPS = ("training_step", "validation_step")  # the events of an update


class EventLog(L.Callback):
    """Appends `event`, `timestamp` (seconds since 1970) and the event's fields to `path`; the first process writes.

    Events: hyperparameters_configured device_info dataset_info model_info training_step validation_step; of several
    processes, process_times.
    """

    def __init__(self, path: Path | str, hyperparameters: dict[str, Any]) -> None:
        self.path, self.hyperparameters = Path(path), hyperparameters

    def write(self, trainer: L.Trainer, event: str, /, **fields: Any) -> None:
        """Append one event."""
        if trainer.is_global_zero:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(strict_json({"event": event, "timestamp": time.time(), **fields}, indent=None) + "\n")

    def rewind(self, step: int) -> None:
        """Forget the steps behind update `step`: a run that continues there takes them again."""

        def keep(line: str) -> bool:
            event = json.loads(line)
            return (event["step"] if event.get("event") in STEPS else event.get("step", 0)) <= step

        keep_lines(self.path, keep)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is known before the first step; trackers get the config, too."""
        for logger in trainer.loggers:
            if not isinstance(logger, MetricsFile):  # config.yaml lies beside it
                logger.log_hyperparams(self.hyperparameters)
        self.write(trainer, "hyperparameters_configured", **self.hyperparameters)
        self.write(trainer, "device_info", device=device_name(trainer), precision=str(trainer.precision))
        self.write(trainer, "dataset_info", **trainer.datamodule.description())
        count = sum(parameter.numel() for parameter in pl_module.net.parameters())
        self.write(trainer, "model_info", architecture=type(pl_module.net).__name__, parameters_count=count)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a training_step at each logging step, once an update."""
        if not trainer.fit_loop._should_accumulate() and trainer._logger_connector.should_update_logs:
            self._step(trainer, pl_module, "training_step", loss=float(pl_module.loss))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write a validation_step with every metric, and a line on the console."""
        metrics, elapsed = pl_module.metrics, clock_of(trainer).elapsed_seconds
        loss = metrics[pl_module.losses[0]]
        self._step(trainer, pl_module, "validation_step", loss=loss, **metrics)
        if trainer.is_global_zero:
            step = f"[{trainer.global_step:>5}/{pl_module.total_steps}] validation_step:"
            tqdm.write(f"{step} loss={loss:.6f} time={elapsed:.2f}s {pl_module.validation_line()}")

    def _step(self, trainer: L.Trainer, pl_module: L.LightningModule, event: str, **fields: Any) -> None:
        elapsed = clock_of(trainer).elapsed_seconds
        self.write(
            trainer, event, step=trainer.global_step, max_steps=pl_module.total_steps, elapsed_time=elapsed, **fields
        )
