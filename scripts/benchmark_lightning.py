"""Time training with Lightning and all callbacks beside a bare loop: `python scripts/benchmark_lightning.py`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.build import build, build_all
from frontpage.command.config_folder import CONFIGS
from frontpage.command.progress_line import watched
from frontpage.data.title_data import TitleData
from frontpage.machine.processor import processor_name
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.parameter_groups import optimizer_of
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


def main() -> None:
    """Train the same steps in turn with and without Lightning."""
    parser = Arguments(
        "Time the training loop with Lightning and all callbacks beside a bare loop.", ("overhead", "turns")
    )
    parser.add_argument("overrides", nargs="*", help="as for train.py, e.g. experiment=quickstart")
    parser.add_argument("--updates", type=number(int, 2 * SKIPPED), default=24, help="of each turn (default 24)")
    parser.add_argument("--turns", type=number(int, 1), default=7, help="default 7")
    arguments = parser.parse_args()
    with initialize_config_dir(CONFIGS), tempfile.TemporaryDirectory() as folder:
        settings = [*(arguments.overrides or ["experiment=quickstart"]), f"trainer.max_steps={arguments.updates}"]
        config = compose("train", overrides=[f"paths.run_dir={folder}", *settings, "trainer.max_epochs=null"])
        data = build(config.data, "data")
        data.setup()
        turns = []
        for _ in watched(range(arguments.turns), "turns", [1] * arguments.turns):
            alone = statistics.mean(bare(config, data, arguments.updates)[SKIPPED:])  # steps that log count, too
            turns.append((alone, statistics.mean(with_lightning(config, data, Path(folder))[SKIPPED:])))
    bare_seconds, lightning_seconds = (statistics.median(column) for column in zip(*turns, strict=True))
    result = {
        "processor": processor_name(torch.device("cpu")),
        "overhead": statistics.median(whole / alone for alone, whole in turns) - 1,
        "added_seconds": statistics.median(whole - alone for alone, whole in turns),
        "bare_seconds": bare_seconds,
        "lightning_seconds": lightning_seconds,
        "turns": turns,
    }
    print(
        f"{result['processor']}: {1e3 * bare_seconds:.1f} ms a step bare, {1e3 * lightning_seconds:.1f} ms with"
        f" Lightning and all callbacks, {1e3 * result['added_seconds']:.2f} ms more: {result['overhead']:+.1%}"
        f" (means of {arguments.updates - SKIPPED} steps, median of {len(turns)} turns; all:"
        f" {', '.join(f'{whole / alone - 1:+.1%}' for alone, whole in turns)})"
    )
    save_json(arguments.json, result)


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
    return build(config.model, "model", vocab_size=data.vocab_size)


def wait(device: torch.device) -> None:
    """Until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    program(main)
