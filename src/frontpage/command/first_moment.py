"""Imported before all else by a program: while its imports take their seconds, Ctrl-C ends it quietly with 130.

Nothing has been made by then that would have to be put in order, and of all modules this one needs the fewest others.
Garbage is not collected meanwhile: what an import makes stays, and looking for more costs an eighth of its time.
"""

import atexit
import gc
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a polite kill, a terminal that is closed


def leave_when_interrupted() -> None:
    """From now on a signal ends the process at once; one that is ignored (nohup) stays so."""
    take_over(_leave)


def take_over(handler: object) -> None:
    """Let `handler` have the signals, in a thread that may say so, and but for those that are ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, frame: object) -> None:
    try:
        os.write(1, b"interrupted\n")
    except OSError:  # a terminal that is gone
        pass
    os._exit(130)


def _by_program() -> bool:
    """Whether the module that imports this one is imported by the file that Python runs, and not by a third."""
    frame = sys._getframe(1)
    for _ in range(2):
        frame = frame.f_back
        while frame is not None and "importlib" in frame.f_globals.get("__name__", ""):
            frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


def all_is_imported() -> None:
    """From now on garbage is collected, but not looked for among what the imports made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


if _by_program():
    leave_when_interrupted()
    gc.disable()
    # The last that Python does: it gives the signals back, and a second Ctrl-C would still change the status.
    atexit.register(take_over, signal.SIG_IGN)
