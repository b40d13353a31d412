"""A process that dies, or whose disk is full, at the n-th of its calls that change a disk.

`python -m frontpage.machine.chaos kill N train.py key=value ...` runs a program and sends it SIGKILL before its N-th
such call; `full N` answers that call and the 19 after it with "no space left on device", but for removals, which need
none; `count 0` only counts, and says how many there were. What counts: files opened for writing, renamed, linked,
removed and synced, and folders made.
"""

import atexit
import builtins
import errno
import io
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FULL_CALLS = 20  # so many calls in a row find no room, then there is some again
REMOVING = ("unlink", "remove")
CHANGING = ("replace", "rename", "link", "symlink", "mkdir", "fsync", *REMOVING)
WRITING = set("wax+")


class Disaster:
    """Counts calls, and strikes at the `moment`-th: `kill` or `full`; `count` never."""

    def __init__(self, kind: str, moment: int) -> None:
        self.kind, self.moment, self.calls, self.process = kind, moment, 0, os.getpid()

    def look(self, needs_room: bool = True) -> None:
        """Count one call; it does not return, or raises, where its time has come."""
        if os.getpid() != self.process:  # a child of the program is not what is tried
            return
        self.calls += 1
        if self.kind == "kill" and self.calls == self.moment:
            os.kill(self.process, signal.SIGKILL)
        if self.kind == "full" and needs_room and self.moment <= self.calls < self.moment + FULL_CALLS:
            print("chaos: no room", flush=True)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def before(self, function: Callable[..., Any], needs_room: bool) -> Callable[..., Any]:
        """`function`, counted."""

        def call(*given: Any, **options: Any) -> Any:
            self.look(needs_room)
            return function(*given, **options)

        return call

    def before_writing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`open`, counted where it opens a regular file for writing."""

        def opened(file: Any, mode: str = "r", *given: Any, **options: Any) -> Any:
            if not WRITING & set(mode) or isinstance(file, int) or str(file).startswith(("/dev/", "/proc/")):
                return function(file, mode, *given, **options)
            self.look()
            return function(file, mode, *given, **options)

        return opened

    def install(self) -> None:
        """Put the counters in the place of what Python calls."""
        for name in CHANGING:
            setattr(os, name, self.before(getattr(os, name), name not in REMOVING))
        builtins.open = io.open = self.before_writing(io.open)
        atexit.register(lambda: print(f"chaos calls: {self.calls}", flush=True))


def main() -> None:
    """Run a program under a disaster."""
    kind, moment, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).resolve().parent))
    Disaster(kind, int(moment)).install()
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
