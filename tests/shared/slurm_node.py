"""A Slurm cluster of this one machine, of one node or two: no accounting, no authentication, loopback only."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={} CPUs=4 State=UNKNOWN\n"


class Cluster:
    """A running one; its commands are run by `do`."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.daemons = folder, []
        for name in ("state", *(f"spool-{name}" for name in names)):
            (folder / name).mkdir()
        own, *ports = _free_ports(1 + len(names))
        lines = "".join(NODE.format(*pair) for pair in zip(names, ports, strict=True))
        (folder / "slurm.conf").write_text(
            CONFIG.format(port=own, folder=folder).replace("Partition", lines + "Partition")
        )
        for command in (["slurmctld", "-D"], *(["slurmd", "-D", "-N", name] for name in names)):
            words = [FOUND[command[0]], *command[1:], "-f", f"{folder}/slurm.conf"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.daemons.append(subprocess.Popen(words, start_new_session=True, **quiet))
            time.sleep(1)
        count = str(len(names))
        self.wait(lambda: self.do("sinfo", "--noheader", "--states=idle", "--format=%D").strip() == count, 60, "not up")

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
        """Whether no job is left; one that was put back into the queue begins soon, not after two minutes.

        Not at once: slurmd refuses, without a word to the user, a job that begins in the second in which it was ended.
        """
        queue = [line.split() for line in self.do("squeue", "--noheader", "--array", "--format=%A %t %r").splitlines()]
        for job, state, reason in queue:
            if (state, reason) == ("PD", "BeginTime"):
                time.sleep(2)
                self.do("scontrol", "update", f"JobId={job}", "StartTime=now")
        return not queue

    def stop(self) -> None:
        """End all jobs and all daemons."""
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


@contextlib.contextmanager
def _running(*names: str) -> Iterator[Cluster]:
    """A cluster, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="frontpage_slurm_"))
    cluster = None
    try:
        cluster = Cluster(folder, names)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def slurm():
    """A running Slurm of one node."""
    with _running("localhost") as cluster:
        yield cluster


@pytest.fixture
def slurm_of_two():
    """A running Slurm of two nodes."""
    with _running("node1", "node2") as cluster:
        yield cluster
