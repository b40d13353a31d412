"""The processes of one run: which of them this is, and that they end together, whichever is killed, and however."""

import contextlib
import os
import threading
import time

from frontpage.command.endings import FAILURE
from frontpage.command.launch import Launch

FIRST_PROCESS = "FRONTPAGE_FIRST_PROCESS"  # the id of the process that started the run; the others inherit it
SECONDS = 1.0  # between two looks
_launch: Launch | None = None


def take_part(launch: Launch | None) -> None:
    """From now on this process is one of a run that a launcher has started; None: it is a run by itself."""
    global _launch
    _launch = launch


def launched() -> Launch | None:
    """What this process is in a run that torchrun or srun has started; None in any other run."""
    return _launch


def is_helper() -> bool:
    """Whether this process is not the first of its run, which writes and prints."""
    return is_child() or (_launch is not None and _launch.rank > 0)


def end_with_first_process() -> None:
    """In a process that the first has started: end as soon as that has, be it by SIGKILL, whatever this one waits for.

    That the first ends with the others is seen to by `training/processes.py`.
    """
    if is_child():
        threading.Thread(target=_watch, args=(int(os.environ[FIRST_PROCESS]),), daemon=True).start()


def is_child() -> bool:
    """Whether the first process of the run has started this one."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0 and FIRST_PROCESS in os.environ


def _watch(first: int) -> None:
    while os.getppid() == first:
        time.sleep(SECONDS)
    if os.environ["LOCAL_RANK"] == "1":  # one of them speaks
        tell_end(f"the first process (pid {first}) has ended")
    os._exit(FAILURE)


def ended_with(why: str) -> str:
    """How a run ends before its time, and how it goes on, in a line."""
    return f"{why}, and the run ends with it; ckpt_path=last continues it"


def tell_end(why: str) -> None:
    """Say that on stderr, whatever else is going on."""
    say_at_once(ended_with(why))


def say_at_once(line: str) -> None:
    """Write a line to stderr past all that Python does with it."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
