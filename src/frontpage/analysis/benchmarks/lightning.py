"""A training step with Lightning and all callbacks beside the same in a bare loop, timed in turn."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build, build_all
from frontpage.command.config_folder import CONFIGS
from frontpage.command.progress_line import watched
from frontpage.data.title_data import TitleData
from frontpage.machine.processor import processor_name
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.runs.reopen import reopened
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.record_run import RecordRun
from frontpage.training.callbacks.run_clock import RunClock
from frontpage.training.plan import plan_run

SKIPPED = 4  # first steps of each turn: kernels are chosen, memory is taken


class StepTimes(L.Callback):
    """Seconds from the end of one update to the end of the next."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._before: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Note the time."""
        wait(trainer.strategy.root_device)
        now = time.perf_counter()
        if self._before is not None:
            self.seconds.append(now - self._before)
        self._before = now


def measure(overrides: Sequence[str], updates: int, turns: int) -> dict[str, Any]:
    """Mean seconds of a step in each turn of so many updates, and medians over the turns."""
    with initialize_config_dir(CONFIGS), tempfile.TemporaryDirectory() as folder:
        settings = [*overrides, f"trainer.max_steps={updates}"]
        config = compose("train", overrides=[f"paths.run_dir={folder}", *settings, "trainer.max_epochs=null"])
        data = build(config.data, "data")
        data.setup()
        taken = []
        for _ in watched(range(turns), "turns", [1] * turns):
            alone = statistics.mean(bare(config, data, updates)[SKIPPED:])  # steps that log count, too
            taken.append((alone, statistics.mean(with_lightning(config, data, Path(folder))[SKIPPED:])))
    bare_seconds, lightning_seconds = (statistics.median(column) for column in zip(*taken, strict=True))
    return {
        "processor": processor_name(torch.device("cpu")),
        "overhead": statistics.median(whole / alone for alone, whole in taken) - 1,
        "added_seconds": statistics.median(whole - alone for alone, whole in taken),
        "bare_seconds": bare_seconds,
        "lightning_seconds": lightning_seconds,
        "turns": taken,
    }


def with_lightning(config: DictConfig, data: TitleData, folder: Path) -> list[float]:
    """What train.py does, without validation in the times."""
    times, settings = StepTimes(), OmegaConf.to_container(config, resolve=True)
    record = RecordRun(folder / "run.json", settings)
    events = EventLog(folder / "events.jsonl", settings)
    callbacks = [RunClock(), events, record, *build_all(config.callbacks, "callbacks"), times]
    trainer = build(config.trainer, "trainer", callbacks=callbacks, logger=build_all(config.logger, "logger"))
    model = fresh(config, data)
    record.plan = plan_run(trainer, data, model)
    trainer.fit(model, datamodule=data)
    return times.seconds


def bare(config: DictConfig, data: TitleData, updates: int) -> list[float]:
    """The same steps in a loop of ten lines, in the precision `32-true`."""
    model, seconds = fresh(config, data).train(), []
    optimizer = optimizer_of(model.net, model.make_optimizer)
    schedule = model.make_scheduler(optimizer, total_steps=updates)
    before = time.perf_counter()
    for batch in batches(data, updates):
        loss = model.loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.net.parameters(), config.trainer.gradient_clip_val)
        optimizer.step()
        schedule.step()
        before, now = time.perf_counter(), before
        seconds.append(before - now)
    return seconds[1:]


def batches(data: TitleData, updates: int) -> Iterator[Any]:
    """The training batches, epoch after epoch."""
    loader, given = data.loader_of(), 0
    while given < updates:
        for batch in loader:
            yield batch
            given += 1
            if given == updates:
                return


def fresh(config: DictConfig, data: TitleData) -> LanguageModule:
    """An untrained model, the same at each call."""
    torch.manual_seed(0)
    model = build(config.model, "model", vocab_size=data.vocab_size)
    model.connect(data.tokenizer, data.block_size, reopened)
    return model


def wait(device: torch.device) -> None:
    """Until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
