"""The processes of a run on one machine: the first starts the others, and all of them end when one is killed."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from frontpage.command.endings import FAILURE, Failure
from frontpage.command.process_family import is_helper, tell_end

LOOK = 1.0  # seconds between two looks at the others
PATIENCE = 20.0  # seconds that the first process has to end by itself, once another one has
OTHERS = 5.0  # seconds in which an error of one process shows that another one was killed


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
            if (helper.poll() or 0) < 0:
                name = signal.Signals(-helper.returncode).name
                return f"process {rank} of {len(self.helpers) + 1} (pid {helper.pid}) was killed by {name}"
        return None

    def _watch(self) -> None:
        """End all where one has failed and the first does not notice, as where it waits for a GPU of another."""
        while all(helper.poll() in (None, 0) for helper in self.helpers):
            time.sleep(LOOK)
        time.sleep(PATIENCE)
        tell_end(self.killed() or "another process of the run has failed")
        self.kill(signal.SIGKILL)
        os._exit(FAILURE)


def use_launcher(trainer: L.Trainer) -> None:
    """Let a trainer start its processes by our Launcher, where it starts any."""
    old, strategy = trainer.strategy.launcher, trainer.strategy
    if isinstance(old, _SubprocessScriptLauncher):
        strategy._launcher = Launcher(old.cluster_environment, old.num_processes, old.num_nodes)


@contextmanager
def killed_explained(trainer: L.Trainer) -> Iterator[None]:
    """Tell an error that comes of another process's end from one of this process: Failure names the one killed.

    A helper waits, so that the first process can speak for all.
    """
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1:
            raise
        launcher, until = trainer.strategy.launcher, time.monotonic() + OTHERS
        while time.monotonic() < until:
            said = launcher.killed() if isinstance(launcher, Launcher) else None
            if said is not None:
                raise Failure(f"{said}, and the run ends with it; ckpt_path=last continues it") from error
            if not (is_helper() or isinstance(launcher, Launcher)):
                break
            time.sleep(0.1)
        raise
