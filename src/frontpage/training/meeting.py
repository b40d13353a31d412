"""Meeting: the processes that torchrun or srun has started begin behind the first, and end with one another."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any

import torch.distributed as dist

from frontpage.command.endings import FAILURE, MISTAKE, Failure, TaskError
from frontpage.command.errors import BadValue, UserError
from frontpage.command.launch import Launch, read_launch
from frontpage.command.leaves import leaves
from frontpage.command.override_words import literal
from frontpage.command.process_family import launched, say_at_once, take_part, tell_end
from frontpage.runs.open_run import CHECKPOINT, RUN_DIRECTORY
from frontpage.training.nodes import cluster_environment

REACH = 300  # seconds in which a process has to be there
LOOK = 1.0  # seconds between two signs of life
SILENCE = 30  # looks without one, after which a process is taken for dead
BROKEN = 6  # the same where an error shows that something is wrong
STORE = -1  # it is looked at as if it were a process
PATIENCE = 20.0  # seconds that the first process waits at the end for the others to leave
PLACES = ("paths.", "data.path.", "data.test_path.", "data.cache_dir.", "ckpt_path.")  # where a node has its files
_meeting: "Meeting | None" = None


def meeting() -> "Meeting | None":
    """Where this process meets the others of its run; None where no launcher has started any."""
    return _meeting


def together(main: Callable[[], object]) -> Callable[[], None]:
    """`main`, which of a launcher's processes only the first enters at once.

    The others enter it when the first has checked all and is about to train, with its directory and checkpoint; what
    it refuses is told once. They leave with status 0 where nothing was to be done, 1 where it has failed.
    """

    @wraps(main)
    def run() -> None:
        global _meeting
        take_part(read_launch(os.environ, sys.argv))
        here = launched()
        if here is None or here.processes == 1:
            main()
            return
        _meeting = Meeting(here)
        if here.rank > 0:
            if _meeting.wait():
                try:
                    main()
                except BaseException as error:
                    _meeting.refuse(error.__cause__ if isinstance(error, TaskError) else error)
                    raise
            return
        try:
            main()
        except BaseException:
            _meeting.dissolve(FAILURE)
            raise
        _meeting.dissolve(0)

    return run


class Meeting:
    """Joined in PyTorch's own store, which the launcher or the first process keeps; Failure where it is not reached."""

    def __init__(self, here: Launch) -> None:
        self.here, environment = here, cluster_environment()
        self._name = f"process {here.rank} of {here.processes} (pid {os.getpid()} on {socket.gethostname()})"
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        try:
            reached = dist.rendezvous("env://", here.rank, here.processes, timeout=timedelta(seconds=REACH))
            self._store = dist.PrefixStore(f"frontpage/{here.attempt}", next(reached)[0])
            self._store.set(f"name {here.rank}", self._name)
        except RuntimeError as error:
            place = "{MASTER_ADDR}:{MASTER_PORT}".format_map(os.environ)
            problem = f"{self._name} cannot meet the others at {place} ({str(error).splitlines()[0]})"
            raise Failure(f"{problem}; MASTER_ADDR and MASTER_PORT name another place") from error
        self._first, self._begun = f"the store of {here.by}", False
        self._looked_at = range(1, here.processes) if here.rank == 0 else range(1)
        self._beats, self._quiet = {STORE: 1, **dict.fromkeys(self._looked_at, 0)}, dict[int, int]()
        self._over, self._lost, self._refused = threading.Event(), False, 0

    def begin(self) -> None:
        """Let the others come, where this is the first process; from now on all look after each other."""
        self._begun = True
        if self.here.rank == 0:
            self._say({name: os.environ[name] for name in (RUN_DIRECTORY, CHECKPOINT)})
            self._look()

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Of the first, tell its settings; of another, compare them: UserError for one that differs, but for PLACES."""
        own = {
            key: json.dumps(value, default=str) for key, value in leaves(settings) if not f"{key}.".startswith(PLACES)
        }
        if self.here.rank == 0:
            self._store.set("settings", json.dumps(own))
            return
        first = json.loads(self._store.get("settings"))
        keys = sorted({*own, *first}, key=lambda key: (key.count("."), key))  # the deep may be made of the others
        for key in keys:
            if own.get(key) != first.get(key):
                problem = f"the first process has {first.get(key, 'no such key')}; all take the same command"
                raise BadValue(key, own.get(key, "no such key"), problem)

    def dissolve(self, status: int) -> None:
        """Where the first has ended without having begun: nobody needs to wait any more."""
        if not self._begun:
            with contextlib.suppress(RuntimeError):
                self._say(status)

    def refuse(self, error: BaseException | None) -> None:
        """Where another than the first has ended without having begun: the first need not wait, and tells a mistake."""
        if not self._begun:
            with contextlib.suppress(RuntimeError):
                self._store.set(f"refused {self.here.rank}", str(error) if isinstance(error, UserError) else "")

    def wait(self) -> bool:
        """Whether the first has begun: the run's directory is then this process's; SystemExit where it has failed."""
        try:
            while not self._store.check(["word"]):
                time.sleep(LOOK / 4)
            word = json.loads(self._store.get("word"))
            self._first = self._store.get("name 0").decode()
        except RuntimeError:  # the first is gone, and has said why
            sys.exit(FAILURE)
        if not isinstance(word, dict):
            return sys.exit(word) if word else False
        os.environ.update(word)
        sys.argv.append(f"hydra.run.dir={literal(word[RUN_DIRECTORY])}")
        self._look()
        return True

    def leave(self) -> None:
        """End the looking, the first behind all others: they would take its end for its death."""
        self._over.set()
        with contextlib.suppress(RuntimeError):
            left, until = self._store.add("left", int(self.here.rank > 0)), time.monotonic() + PATIENCE
            while self.here.rank == 0 and left < self.here.processes - 1 and time.monotonic() < until:
                time.sleep(LOOK / 20)
                left = self._store.add("left", 0)

    def killed(self) -> str | None:
        """Which process gives no sign of life, in words, asked when something is broken; None where all do."""
        quiet = next(
            (rank for rank in self._looked_at if self._beats[rank] and self._quiet.get(rank, 0) >= BROKEN), None
        )
        return None if quiet is None else self._silent(quiet)

    def _look(self) -> None:
        for work in (self._exchange, self._judge):
            threading.Thread(target=work, daemon=True).start()

    def _say(self, word: object) -> None:
        self._store.set("word", json.dumps(word))

    def _exchange(self) -> None:
        """Give signs of life, and read those of the others: the first of all, they of the first. It may block."""
        try:
            while not self._over.wait(LOOK):
                self._store.add(f"beat {self.here.rank}", 1)
                for rank in self._looked_at:
                    self._beats[rank] = self._store.add(f"beat {rank}", 0)
                    if self._store.check([f"refused {rank}"]):
                        self._refused = rank
                self._beats[STORE] += 1
        except RuntimeError:
            self._lost = True

    def _judge(self) -> None:
        """Count the looks since the newest sign of life of each, and end where they are too many."""
        seen = dict(self._beats)
        while not self._over.wait(LOOK):
            if self._lost:
                self._end(f"{self._first} has ended")
            if self._refused:
                self._end_refused(self._store.get(f"refused {self._refused}").decode())
            for one, beats in [*self._beats.items()]:
                self._quiet[one] = self._quiet.get(one, 0) + 1 if beats == seen[one] else 0
                seen[one] = beats
                if self._quiet[one] >= (SILENCE if beats else REACH):
                    self._end(self._silent(one))

    def _silent(self, one: int) -> str:
        return f"{self._name_of(one)} has given no sign of life for {self._quiet[one] * LOOK:.0f} s"

    def _name_of(self, one: int) -> str:
        if one <= 0:
            return self._first
        known = self._store.check([f"name {one}"])  # the store has answered, or it would be the silent one
        return self._store.get(f"name {one}").decode() if known else f"process {one} of {self.here.processes}"

    def _end_refused(self, mistake: str) -> None:
        if not self._over.is_set():
            told = f"refuses {mistake}" if mistake else "has not begun, and the run ends with it"
            say_at_once(f"{self._name_of(self._refused)} {told}")
            os._exit(MISTAKE if mistake else FAILURE)

    def _end(self, why: str) -> None:
        if not self._over.is_set():
            tell_end(why)
            os._exit(FAILURE)
