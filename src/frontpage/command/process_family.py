"""The processes of one run end together, whichever of them is killed, and however."""

import contextlib
import os
import threading
import time

from frontpage.command.endings import FAILURE

FIRST_PROCESS = "FRONTPAGE_FIRST_PROCESS"  # the id of the process that started the run; the others inherit it
SECONDS = 1.0  # between two looks


def is_helper() -> bool:
    """Whether this process was started by the first one of its run."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0 and FIRST_PROCESS in os.environ


def end_with_first_process() -> None:
    """In a helper process: end as soon as the first process has, be it by SIGKILL, and whatever this one waits for.

    That the first ends with the others is seen to by `training/processes.py`.
    """
    if is_helper():
        threading.Thread(target=_watch, args=(int(os.environ[FIRST_PROCESS]),), daemon=True).start()


def _watch(first: int) -> None:
    while os.getppid() == first:
        time.sleep(SECONDS)
    if os.environ["LOCAL_RANK"] == "1":  # one of them speaks
        tell_end(f"the first process (pid {first}) has ended")
    os._exit(FAILURE)


def tell_end(why: str) -> None:
    """Say on stderr that a run ends before its time, and how it goes on."""
    with contextlib.suppress(OSError):
        os.write(2, f"{why}, and the run ends with it; ckpt_path=last continues it\n".encode())
