"""A Slurm cluster of this one machine, for tests of jobs: no accounting, no authentication, loopback only."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PLACES = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
FOUND = {name: shutil.which(name, path=PLACES) for name in PROGRAMS}
NEEDED = [
    pytest.mark.skipif(None in FOUND.values(), reason="needs Slurm (Debian: slurmctld slurmd slurm-client)"),
    pytest.mark.skipif(os.getuid() != 0, reason="slurmd runs as root"),
]
CONFIG = """
ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={0}
SlurmdPort={1}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName=localhost CPUs=4 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class Node:
    """A running one; its commands are run by `do`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, []
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(CONFIG.format(*_free_ports(2), folder=folder))
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            words = [FOUND[command[0]], *command[1:], "-f", f"{folder}/slurm.conf"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.daemons.append(subprocess.Popen(words, start_new_session=True, **quiet))
            time.sleep(1)
        self.wait(lambda: "idle" in self.do("sinfo", "--noheader"), 30, "the node is not up")

    @property
    def environment(self) -> dict[str, str]:
        """What a command of Slurm needs, and its jobs inherit."""
        return os.environ | {"SLURM_CONF": f"{self.folder}/slurm.conf"}

    def do(self, program: str, *arguments: str, more: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """What a command says."""
        words, own = [FOUND[program], *arguments], self.environment | dict(more or {})
        done = subprocess.run(words, env=own, cwd=cwd, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def wait(self, true: object, seconds: float, reason: str) -> None:
        """Until something is true."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, reason
            time.sleep(0.5)

    def drained(self) -> bool:
        """Whether no job is left; one that was put back into the queue begins at once, not after two minutes."""
        queue = [line.split() for line in self.do("squeue", "--noheader", "--array", "--format=%A %t %r").splitlines()]
        for job, state, reason in queue:
            if (state, reason) == ("PD", "BeginTime"):
                self.do("scontrol", "update", f"JobId={job}", "StartTime=now")
        return not queue

    def stop(self) -> None:
        """End all jobs and both daemons."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.do("scancel", "--user=root", "--signal=KILL", "--full")
            self.do("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
            daemon.kill()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]


@pytest.fixture(scope="module")
def slurm():
    """A running Slurm, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="frontpage_slurm_"))
    node = None
    try:
        node = Node(folder)
        yield node
    finally:
        if node is not None:
            node.stop()
        shutil.rmtree(folder, ignore_errors=True)
