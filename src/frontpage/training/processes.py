"""The processes of a run: on one machine the first starts the others; all of them end when one is killed or hangs."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from frontpage.command.endings import FAILURE, INTERRUPTED, Failure, Interrupted
from frontpage.command.process_family import ended_with, is_helper, tell_end
from frontpage.training.meeting import meeting

LOOK = 1.0  # seconds between two looks at the others
PATIENCE = 20.0  # seconds that the first process has to end by itself, once another one has
OTHERS = 5.0  # seconds in which an error of one process shows that another one was killed
ELSEWHERE = 15.0  # the same, where processes know of each other by signs of life


class Launcher(_SubprocessScriptLauncher):
    """Lightning's, which looks after its children by itself: Lightning's observer kills the first without a word."""

    helpers: tuple[subprocess.Popen, ...] = ()

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.helpers, self.procs = tuple(self.procs), []  # with none, Lightning's observer leaves at once
        threading.Thread(target=self._watch, daemon=True).start()

    def launch(self, *arguments: Any, **settings: Any) -> Any:
        """Run, and wait for the helpers: they would take a first process that ends before them for a dead one."""
        result = super().launch(*arguments, **settings)
        until = time.monotonic() + PATIENCE
        while any(helper.poll() is None for helper in self.helpers) and time.monotonic() < until:
            time.sleep(0.05)
        return result

    def kill(self, signum: int) -> None:
        """Send a signal to the helpers."""
        for helper in self.helpers:
            helper.send_signal(signum)

    def killed(self) -> str | None:
        """Which helper a signal has ended, in words; None where there is none."""
        for rank, helper in enumerate(self.helpers, start=1):
            status = helper.poll() or 0
            if status < 0 or status == INTERRUPTED:
                what = "interrupted" if status > 0 else f"killed by {signal.Signals(-status).name}"
                return f"process {rank} of {len(self.helpers) + 1} (pid {helper.pid}) was {what}"
        return None

    def _watch(self) -> None:
        """End all where one has failed and the first does not notice, as where it waits for a GPU of another."""
        while all(helper.poll() in (None, 0) for helper in self.helpers):
            time.sleep(LOOK)
        if all(helper.poll() in (None, 0, INTERRUPTED) for helper in self.helpers):
            if dist.is_initialized():
                return  # the first hears of it at the next exchange, and may still be saving
            time.sleep(LOOK * 2)  # or it waits for what will never come, in code that hears no signal
            os.write(1, b"interrupted\n")
            self.kill(signal.SIGTERM)
            os._exit(INTERRUPTED)
        time.sleep(PATIENCE)
        tell_end(self.killed() or "another process of the run has failed")
        self.kill(signal.SIGKILL)
        os._exit(FAILURE)


def use_launcher(trainer: L.Trainer) -> None:
    """Let a trainer start its processes by our Launcher, where it starts any."""
    old, strategy = trainer.strategy.launcher, trainer.strategy
    if isinstance(old, _SubprocessScriptLauncher) and meeting() is None:
        strategy._launcher = Launcher(old.cluster_environment, old.num_processes, old.num_nodes)


@contextmanager
def ending_together(trainer: L.Trainer) -> Iterator[None]:
    """Let a launcher's other processes come, and end with them; an error that comes of another's end is told so.

    Failure names the process that was killed, or says that one hangs, after `trainer.timeout` seconds. A helper waits,
    so that the first process can speak for all.
    """
    met = meeting()
    if met is not None:
        met.begin()
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1:
            raise
        why = _why(trainer, str(error))
        if why is None:
            raise
        raise Failure(ended_with(why)) from error
    except (Interrupted, KeyboardInterrupt):
        if met is not None:
            met.leave()
        raise
    if met is not None:
        met.leave()


def _why(trainer: L.Trainer, problem: str) -> str | None:
    """What an error of one process says of another, in words; None where it was an error of this one."""
    launcher, met = trainer.strategy.launcher, meeting()
    others = met if met is not None else launcher if isinstance(launcher, Launcher) else None
    until = time.monotonic() + (OTHERS if met is None else ELSEWHERE)
    while time.monotonic() < until and (others is not None or is_helper()):
        said = None if others is None else others.killed()
        if said is not None:
            return said
        time.sleep(0.1)
    if "timed out" in problem.lower() or "timeout" in problem.lower():
        if isinstance(launcher, Launcher):
            launcher.kill(signal.SIGKILL)  # one that was stopped does not see that the first ends
        rank = f"process {trainer.global_rank} of {trainer.world_size}"
        return f"{rank} waited longer than trainer.timeout={trainer.timeout:g} s for another one, which hangs"
    return None
