"""ProcessTimes: how long each process of a run works and waits at validations, so that the slowest one is known."""

import socket
import time
from datetime import timedelta
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from frontpage.machine.accelerator import device_name
from frontpage.training.callbacks.event_log import EventLog


class ProcessTimes(L.Callback):
    """Writes an event `process_times` at each validation of several processes: by rank, seconds of work and of waiting.

    A validation is where processes do alike work without each other, from its first batch to the last; then the faster
    ones wait. Nothing is done where there is one process. It also has them wait for `trainer.timeout` at most.
    """

    def __init__(self) -> None:
        self.working: list[float] = []  # seconds of this session, by rank
        self.waiting: list[float] = []
        self._begun: float | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let no process wait longer; until here, all of them start, which may take its time."""
        if trainer.world_size > 1:
            mesh = getattr(pl_module, "_device_mesh", None)
            groups = [None] if mesh is None else [None, *(mesh[name].get_group() for name in mesh.mesh_dim_names)]
            for group in groups:
                dist.distributed_c10d._set_pg_timeout(timedelta(seconds=trainer.timeout), group)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start at 0."""
        self.working, self.waiting = [0.0] * trainer.world_size, [0.0] * trainer.world_size

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the time of the first one."""
        if batch_idx == 0:
            self._begun = time.perf_counter()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for the others, and tell how long that took: the next that a validation does is to count together."""
        if trainer.world_size == 1 or trainer.state.fn != "fit" or self._begun is None:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        done = time.perf_counter()
        trainer.strategy.barrier()
        own = done - self._begun, time.perf_counter() - done
        working, waiting = zip(*gathered(trainer, own), strict=True)
        self.working = [sum(pair) for pair in zip(self.working, working, strict=True)]
        self.waiting = [sum(pair) for pair in zip(self.waiting, waiting, strict=True)]
        events = next(one for one in trainer.callbacks if isinstance(one, EventLog))
        times = {"working_seconds": working, "waiting_seconds": waiting}
        events.write(trainer, "process_times", step=trainer.global_step, **times)

    def summary(self, processes: list[dict[str, Any]]) -> str | None:
        """The slowest process and what the others waited for it, in words; None where nothing is to be compared."""
        if len(self.working) < 2 or not sum(self.working):
            return None
        slowest = max(range(len(self.working)), key=self.working.__getitem__)
        others = [rank for rank in range(len(self.working)) if rank != slowest]
        work, wait = (sum(seconds[rank] for rank in others) for seconds in (self.working, self.waiting))
        host = processes[slowest]["host"]
        return (
            f"{slowest} of {len(self.working)}, on {host}: validated for {self.working[slowest]:.2f} s, the others for"
            f" {work / len(others):.2f} s, and they waited {wait / (work + wait):.0%} of the time"
        )


def described_processes(trainer: L.Trainer) -> list[dict[str, Any]]:
    """Rank, host and device of each process of a run; a collective."""
    device = trainer.strategy.root_device
    name = device_name(trainer).replace("cuda", str(device), 1)
    return gathered(trainer, {"rank": trainer.global_rank, "host": socket.gethostname(), "device": name})


def gathered(trainer: L.Trainer, own: Any) -> list[Any]:
    """What each process has, by rank; a collective."""
    found = [own] * trainer.world_size
    if trainer.world_size > 1:
        dist.all_gather_object(found, own)
    return found
