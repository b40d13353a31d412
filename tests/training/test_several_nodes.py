"""Promises of one run on several nodes: two of loopback, each a torchrun with a process of its own (gloo)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from programs import record_of, train_tiny
from spread_runs import check_numbers_alike, children_of
from tiny import ROOT, TINY

from frontpage.command.launch import Launch
from frontpage.command.process_family import take_part

HALF = "data.batch_size=4"  # of TINY's rows on each node
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1")


def started(tmp_path, *overrides):
    """The same command on both nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = ("--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}")
    words = (
        "train.py",
        *TINY,
        HALF,
        *overrides,
        f"paths.cache_dir={tmp_path}/cache",
        f"paths.log_dir={tmp_path}/logs",
    )
    own = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    own["env"] = os.environ | {"HYDRA_FULL_ERROR": "0"}
    return [subprocess.Popen([*TORCHRUN, f"--node-rank={rank}", *meeting, *words], **own) for rank in (0, 1)]


def both(tmp_path, *overrides):
    """(stdout of the first node, that of the second) of a run that both nodes end with status 0."""
    nodes = started(tmp_path, *overrides)
    (stdout, stderr), (stdout_of_second, stderr_of_second) = (node.communicate(timeout=900) for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], stderr + stderr_of_second
    assert (ours(stderr), ours(stderr_of_second)) == ([], [])
    return stdout, stdout_of_second


def ours(stderr):
    """The lines without those of torch's own, such as about sockets on a busy machine."""
    return [line for line in stderr.splitlines() if not line.startswith(("[", "W", "E"))]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_two_nodes_are_one_run_which_ends_with_the_numbers_of_one_process(tmp_path, trainer):
    curve = ("log_interval=1", "val_interval=10", "model.dropout=0", "model.lr_scaling=sqrt")
    one = train_tiny(tmp_path / "one", *curve)
    said, said_by_second = both(tmp_path, f"trainer={trainer}", *curve)
    assert said_by_second == ""
    (two,) = (tmp_path / "logs" / "runs" / "gpt").iterdir()  # the time in its name is the first node's
    check_numbers_alike(one, two)
    records = record_of(one), record_of(two)
    for name in ("tokens_per_update", "tokens_seen", "rows_per_update", "training_flops", "notices"):
        assert records[0][name] == records[1][name], name  # of the notices one tells the scaled rate
    assert [record["world_size"] for record in records] == [1, 2]
    assert [one["rank"] for one in records[1]["processes"]] == [0, 1]
    assert {one["host"] for one in records[1]["processes"]} == {socket.gethostname()}
    events = [json.loads(line) for line in (two / "events.jsonl").read_text().splitlines()]
    times = [event for event in events if event["event"] == "process_times"]
    assert [event["step"] for event in times] == [10, 17]
    assert all(len(event[name]) == 2 for event in times for name in ("working_seconds", "waiting_seconds"))
    assert " x 2 devices)" in said and "slowest process" in said


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_when_a_node_dies_the_other_ends_and_the_run_goes_on_from_its_checkpoint(tmp_path, dying):
    run = tmp_path / "run"
    long = ("trainer=ddp", f"hydra.run.dir={run}", "val_interval=10", "callbacks.sample_titles=null")
    nodes = started(tmp_path, *long, "trainer.max_epochs=9999")
    while nodes[0].poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.2)
    for process in (nodes[dying].pid, *children_of(nodes[dying].pid)):
        os.killpg(process, signal.SIGKILL)  # torchrun's have a group each
    _, stderr = nodes[1 - dying].communicate(timeout=120)
    assert nodes[1 - dying].returncode not in (0, None)
    (said,) = [
        line for line in stderr.splitlines() if line.endswith("the run ends with it; ckpt_path=last continues it")
    ]
    assert said.startswith(f"process {dying} of 2 (pid "), said
    nodes[dying].communicate()
    longer = record_of(run)["steps"] // 17 + 4
    both(tmp_path, *long, f"trainer.max_epochs={longer}", "ckpt_path=last")
    assert record_of(run)["status"] == "finished" and '"resumed"' in (run / "events.jsonl").read_text()


@pytest.mark.slow
def test_what_the_first_node_refuses_is_told_once_and_ends_both(tmp_path):
    nodes = started(tmp_path, "trainer=ddp", "trainer.devices=2")
    (_, stderr), (stdout_of_second, stderr_of_second) = (node.communicate(timeout=900) for node in nodes)
    assert "trainer.devices=2: 1 or auto" in stderr and "exitcode  : 2" in stderr
    assert "trainer.devices=2: 1 or auto" not in stdout_of_second + stderr_of_second
    assert 0 not in [node.returncode for node in nodes] and not (tmp_path / "logs").exists()


@pytest.fixture
def launched():
    """This process as one that a launcher has started."""
    yield take_part
    take_part(None)


TWO_BY_FOUR = Launch("torchrun", rank=0, processes=8, nodes=2, each=4)
REFUSED = {
    "nodes without a launcher": (None, ["trainer.num_nodes=2"], "trainer.num_nodes=2: 1 or null"),
    "other nodes": (TWO_BY_FOUR, ["trainer.num_nodes=3", "trainer=ddp"], "trainer.num_nodes=3: 2 or null"),
    "one device": (TWO_BY_FOUR, [], "trainer.devices=1: 4 or auto"),
    "other devices": (TWO_BY_FOUR, ["trainer=ddp", "trainer.devices=[0,1]"], "trainer.devices=[0, 1]: 4 or auto"),
    "uneven nodes": (Launch("srun", 0, 3, 2, None), ["trainer=ddp"], "srun: 3 processes on 2 nodes"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_nodes_and_devices_that_do_not_fit_the_launcher_are_refused_in_one_line(
    command, run_directories, launched, case
):
    launch, overrides, words = REFUSED[case]
    launched(launch)
    ended = command(*TINY, *overrides)
    (line,) = ended.stderr.splitlines()
    assert ended.status == 2 and line.startswith(words)
    assert run_directories() == []
