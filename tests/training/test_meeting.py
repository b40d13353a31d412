"""Promises of the processes that a launcher has started, without a run: they begin, and end, together."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch.distributed as dist
from tiny import ROOT

from frontpage.command.errors import UserError
from frontpage.command.launch import Launch
from frontpage.training.meeting import Meeting

PROCESS = """
import os, sys, time
from frontpage.command.errors import BadValue
from frontpage.command.launch import Launch
from frontpage.command.process_family import take_part
from frontpage.training import meeting
REFUSED = {"fail": RuntimeError("something"), "refuse": BadValue("seed", 2, "the first process has 1")}
meeting.SILENCE, rank, work = 5, int(sys.argv[1]), sys.argv[2]
os.environ |= {"FRONTPAGE_RUN_DIRECTORY": f"/of {rank}", "FRONTPAGE_CHECKPOINT": ""}
take_part(Launch("torchrun", rank, 2, 2, 1))
met = meeting.Meeting(Launch("torchrun", rank, 2, 2, 1))
if rank == 0:
    met.dissolve(int(work)) if work.isdigit() else met.begin()
elif not met.wait():
    sys.exit(0)
elif work in REFUSED:
    met.refuse(REFUSED[work])
    sys.exit(2)
print(os.environ["FRONTPAGE_RUN_DIRECTORY"], sys.argv[4:], flush=True)
time.sleep(float(sys.argv[3]))
if work == "train":
    met.leave()
"""


def started(work, seconds):
    """The first process and another one, in one store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    own = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | place}
    return [subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), work, str(seconds)], **own) for rank in (0, 1)]


def ended(process):
    stdout, stderr = process.communicate(timeout=900)
    return process.returncode, stdout, stderr


@pytest.mark.slow
def test_they_begin_in_the_directory_of_the_first_and_the_first_leaves_last():
    first, other = started("train", 3)
    assert ended(other) == (0, "/of 0 ['hydra.run.dir=\"/of 0\"']\n", "")
    assert ended(first) == (0, "/of 0 []\n", "")


def of_rank(rank, store):
    """What a process has met the others in, without any."""
    met = object.__new__(Meeting)
    met.here, met._store = Launch("torchrun", rank, 2, 2, 1), store
    return met


SETTINGS = {"seed": 1, "a": {"seed": 1}, "data": {"path": "/a/titles.txt", "batch_size": 4}, "paths": {"run_dir": "/a"}}


def test_all_processes_have_the_settings_of_the_first_but_for_places():
    store = dist.HashStore()
    of_rank(0, store).agree(SETTINGS)
    of_rank(1, store).agree(SETTINGS | {"paths": {"run_dir": "/b"}, "data": {"path": "/b/x.txt", "batch_size": 4}})
    for changed, line in {
        "batch": (SETTINGS | {"data": {"path": "", "batch_size": 2}}, "data.batch_size=2: the first process has 4"),
        "one that others take": (SETTINGS | {"seed": 2, "a": {"seed": 2}}, "^seed=2: the first process has 1"),
        "more": (SETTINGS | {"test": True}, "test=true: the first process has no such key"),
    }.values():
        with pytest.raises(UserError, match=line):
            of_rank(1, store).agree(changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "own_status", "said"),
    [
        ("fail", 1, "has not begun, and the run ends with it"),
        ("refuse", 2, "refuses seed=2: the first process has 1"),
    ],
)
def test_where_another_one_does_not_begin_the_first_ends_with_it_and_says_why(work, own_status, said):
    first, other = started(work, 250)  # less than what a silent one is waited for
    assert ended(other) == (2, "", "")
    status, _, stderr = ended(first)
    line = f"process 1 of 2 (pid {other.pid} on {socket.gethostname()}) {said}\n"
    assert (status, stderr) == (own_status, line)


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 1])
def test_where_the_first_does_not_begin_the_others_leave_without_a_word(status):
    first, other = started(str(status), 1)
    assert ended(other) == (status, "", "")
    first.communicate(timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("dying", [0, 1])
def test_where_one_is_killed_or_stands_still_the_other_ends_and_says_which(dying, number):
    processes = started("train", 999)
    for process in processes:
        process.stdout.readline()
    time.sleep(2)
    processes[dying].send_signal(number)
    status, _, stderr = ended(processes[1 - dying])
    processes[dying].kill()
    processes[dying].communicate(timeout=600)
    assert status == 1 and stderr.startswith(f"process {dying} of 2 (pid {processes[dying].pid} on "), stderr
    assert stderr.endswith("and the run ends with it; ckpt_path=last continues it\n") and stderr.count("\n") == 1
