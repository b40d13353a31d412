"""Promises of one run on several devices: two gloo processes, with copies of the net (DDP) or parts of it (FSDP2)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from parallel_runs import SMALL
from programs import record_of, run_script
from run_outputs import checkpoint_of, same
from spread_runs import check_numbers_alike, children_of, curve_of, measured
from tiny import ROOT, TINY

KINDS = ("one", "ddp", "fsdp")
TOGETHER = pytest.mark.xdist_group("with_muon")  # in one worker of pytest, which makes the fixture once
PARTS = "parts"  # fsdp, each process with a file of its own
# The last update of an epoch has fewer tokens than the others, and one of its processes fewer than the other.
# ADAMW: the second has the row that is not full, of 130; MUON: the first, of 135, and one row more than the second.
ADAMW = (
    "data.num_titles=117",
    "trainer.max_steps=50",
    "trainer.max_epochs=9",
    "model.dropout=0",
    "log_interval=1",
    "val_interval=25",
    "model.accuracy=true",
)
MUON = (
    *ADAMW,
    "data.num_titles=120",
    "optimizer=muon",
    "optimizer.iteration=float32",
    "optimizer.split_fused=true",
    "model.activation=swiglu",
    "model.tie_embeddings=false",
)
MUON += ("callbacks=ema", "trainer.gradient_clip_val=0.3", "trainer.accumulate_grad_batches=2")
MUON += ("save_interval=20", "callbacks.last_checkpoint.keep=9")
TASKS = ("trainer.max_steps=20", "val_interval=10", "log_interval=1", "data.batch_policy=constant_examples")
# What looks at all examples of a micro-batch has those of its own process only.
TASKS += ("tasks.cross_reference.centred=false", "tasks.paraphrase.centred=false", "tasks.cross_reference.loss=hinge")
TASKS += ("data.corruption=word", "data.corruption_share=0.2")


def spread(kind, rows):
    """The keys of so many rows a micro-batch, over all processes."""
    fsdp = ("trainer=fsdp", "trainer.devices=2")
    in_parts = (*fsdp, "trainer.sharded_checkpoints=true")
    trainer = {"one": (), "ddp": ("trainer=ddp_cpu",), "fsdp": fsdp, PARTS: in_parts}[kind]
    return (*trainer, "trainer.accelerator=cpu", f"data.batch_size={rows if kind == 'one' else rows // 2}")


def started(directory, *overrides):
    """train.py as a user starts it; the run's folder has a cache beside it."""
    words = [sys.executable, "train.py", *overrides, f"hydra.run.dir={directory}"]
    words.append(f"paths.cache_dir={directory.parent}/cache")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        words, cwd=ROOT, **pipes, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "0"}
    )


def trained(directory, *overrides):
    """What a run printed."""
    stdout, stderr = (process := started(directory, *overrides)).communicate(timeout=900)
    # Of torch's own, on a busy machine: about sockets, and once of a thread that the end of a process had overtaken.
    own = [line for line in stderr.splitlines() if not line.startswith(("[", "terminate called without"))]
    assert (process.returncode, own) == (0, []), stdout[-3000:] + stderr
    return stdout


def form_of(node):
    """The keys, types, shapes and kinds of a nested state."""
    if isinstance(node, torch.Tensor):
        return type(node), node.dtype, tuple(node.shape)
    if isinstance(node, dict):
        return {key: form_of(value) for key, value in node.items()}
    return [form_of(value) for value in node] if isinstance(node, list | tuple) else type(node)


def check_alike(runs):
    """The curves and metrics of the first run are those of the others, and so is the form of the checkpoints."""
    one, *others = runs
    for run in others:
        check_numbers_alike(one, run)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "newest"):
            assert form_of(checkpoint_of(run)[part]) == form_of(checkpoint_of(one)[part]), part
    assert [record_of(run)["world_size"] for run in runs] == [1] + [2] * len(others)


@pytest.fixture(scope="module")
def with_muon(tmp_path_factory):
    """Runs with Muon and all that belongs to it, by how they were spread."""
    folder = tmp_path_factory.mktemp("muon")
    for kind in (*KINDS, PARTS):
        trained(folder / kind, *TINY, *spread(kind, 4), *MUON)
    return {kind: folder / kind for kind in (*KINDS, PARTS)}


@pytest.mark.slow
def test_one_process_and_two_train_alike_with_adamw(tmp_path):
    for kind in KINDS:
        trained(tmp_path / kind, *TINY, *spread(kind, 8), *ADAMW, "model.n_layer=2")
    check_alike([tmp_path / kind for kind in KINDS])


@TOGETHER
@pytest.mark.slow
def test_one_process_and_two_train_alike_with_muon_accumulation_clipping_and_an_average(with_muon):
    check_alike([*with_muon.values()])
    one, *others = [checkpoint_of(run)["current_model_state"] for run in with_muon.values()]
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for other in others for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_early_stopping_ends_two_processes_where_it_ends_one(tmp_path, kind):
    """Nothing is ever better by 10 than the first validation, at update 2; two more are waited for."""
    early = ("callbacks=early_stopping", "callbacks.early_stopping.min_delta=10.0", "val_interval=2")
    trained(tmp_path / kind, *TINY, *spread(kind, 8), *early, "callbacks.early_stopping.patience=2")
    record = record_of(tmp_path / kind)
    assert record["steps"] == 2 + 2 * 2 and record["reason"].startswith("early stopping")


@pytest.mark.slow
def test_one_process_and_two_train_all_tasks_alike(tmp_path):
    for kind in KINDS:
        trained(tmp_path / kind, *SMALL, *spread(kind, 8), *TASKS)
    check_alike([tmp_path / kind for kind in KINDS])


@TOGETHER
@pytest.mark.slow
@pytest.mark.parametrize(
    ("writer", "reader"), [("one", "fsdp"), ("fsdp", "ddp"), (PARTS, "one"), (PARTS, PARTS), ("ddp", "ddp")]
)
def test_a_checkpoint_of_each_is_continued_by_each(tmp_path, with_muon, writer, reader):
    """Half way; in as many processes of the same kind to the same bits."""
    whole, run = with_muon[writer], tmp_path / "run"
    source = whole / "checkpoints" / "step-000020.ckpt"
    said = trained(run, *TINY, *spread(reader, 4), *MUON, f"ckpt_path={source}")
    assert curve_of(run) == pytest.approx(curve_of(whole)[20:], rel=1e-4)
    packed = "val/packed_nats_per_char"  # of as many rows at once as a batch has
    expected, found = (measured(directory) for directory in (whole, run))
    assert found.pop(packed) == pytest.approx(expected.pop(packed), rel=1e-4) and found == pytest.approx(expected)
    if writer == reader:
        assert "goes on with other" not in said
        for part in ("state_dict", "current_model_state", "optimizer_states"):
            assert same(checkpoint_of(run)[part], checkpoint_of(whole)[part]), part
    else:
        assert "notice: the run goes on with other settings" in said and "trainer.strategy=" in said
        assert ("as in dropout, starts anew" in said) == ("one" in (writer, reader)) and "other numbers" not in said


@TOGETHER
@pytest.mark.slow
def test_scripts_read_a_run_of_several_devices_like_any_other(tmp_path, with_muon, capfd):
    """Scored titles and drawn ones are those of the same run in one process."""
    titles = tmp_path / "titles.txt"
    titles.write_text("Show HN: A new database\nAsk HN: Who is hiring?\n")
    found = []
    for kind in with_muon:
        scored, drawn, exported = (tmp_path / f"{kind}.{name}" for name in ("scored.json", "drawn.json", "exported"))
        ended = [
            run_script(capfd, "evaluate", with_muon[kind], f"data.path={titles}", "--json", scored),
            run_script(capfd, "generate", with_muon[kind], "--num", 3, "--seed", 1, "--json", drawn),
            run_script(capfd, "export", with_muon[kind], "--output", exported, "--format", "safetensors"),
        ]
        assert [one.status for one in ended] == [0, 0, 0], ended
        found.append((json.loads(scored.read_text()), json.loads(drawn.read_text())))
    (scored, drawn), *others = found
    for other_scored, other_drawn in others:
        assert [one["title"] for one in drawn] == [one["title"] for one in other_drawn]
        nats = "val/nats_per_char"
        assert scored["metrics"][nats] == pytest.approx(other_scored["metrics"][nats], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp", PARTS])
def test_when_one_process_is_killed_all_end_and_the_run_goes_on_to_the_same_bits(tmp_path, kind):
    """Two kills of each: first of one process, then, in the run that goes on, of the other."""
    long = ("trainer.max_epochs=6", "model.dropout=0.1", "val_interval=10", "callbacks.sample_titles=null")
    settings = (*TINY, *spread(kind, 8), *long)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for rank, more in ((1, ()), (0, ("ckpt_path=last",))):
        killed_after_a_checkpoint(broken, rank, *settings, *more)
    assert 0 < checkpoint_of(broken)["global_step"] < 6 * 17
    trained(broken, *settings, "ckpt_path=last")
    trained(whole, *settings)
    assert same(checkpoint_of(broken)["state_dict"], checkpoint_of(whole)["state_dict"])


def killed_after_a_checkpoint(run, rank, *settings):
    """Begin, kill one of the two processes once there is a new checkpoint, and see that both end with one line."""
    last = run / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else None
    first = started(run, *settings)
    while first.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
        time.sleep(0.2)
    (helper,) = children_of(first.pid)
    os.kill((first.pid, helper)[rank], signal.SIGKILL)
    _, stderr = first.communicate(timeout=60)
    assert first.returncode == (-signal.SIGKILL, 1)[rank], stderr
    ours = [line for line in stderr.splitlines() if line.endswith("the run ends with it; ckpt_path=last continues it")]
    assert len(ours) == 1, stderr  # torch may add a line of its own about the broken connection
    (said,) = ours
    assert f"(pid {(first.pid, helper)[rank]}) " in said
    assert rank == 0 or record_of(run)["reason"] == said
    assert gone(helper)


@pytest.mark.slow
def test_a_signal_to_the_second_process_while_it_starts_ends_the_first(tmp_path):
    first = started(tmp_path / "run", *TINY, *spread("ddp", 8), "trainer.max_epochs=9999")
    while first.poll() is None and not children_of(first.pid):
        time.sleep(0.05)
    (helper,) = children_of(first.pid)
    while not hears(helper, signal.SIGTERM):
        time.sleep(0.01)
    os.kill(helper, signal.SIGTERM)
    stdout, stderr = first.communicate(timeout=120)
    assert (first.returncode, stderr) == (130, "") and "interrupted" in stdout and gone(helper)


@pytest.mark.slow
def test_when_a_process_hangs_the_run_ends_and_says_so(tmp_path):
    run = tmp_path / "run"
    endless = ("trainer.max_epochs=9999", "val_interval=10", "callbacks.sample_titles=null", "trainer.timeout=10")
    first = started(run, *TINY, *spread("ddp", 8), *endless)
    while first.poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.2)
    (helper,) = children_of(first.pid)
    os.kill(helper, signal.SIGSTOP)
    stdout, stderr = first.communicate(timeout=120)
    (said,) = [line for line in stderr.splitlines() if line.endswith("ckpt_path=last continues it")]
    assert first.returncode == 1 and "trainer.timeout=10 s for another one, which hangs" in said, stdout
    assert record_of(run)["status"] == "failed" and gone(helper)


def hears(pid, number):
    """Whether a process has a handler of its own for a signal."""
    (mask,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line]
    return bool(int(mask, 16) >> (number - 1) & 1)


def gone(pid):
    """Whether a process ends within a minute."""
    ended = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < ended:
        time.sleep(0.2)
    return not os.path.exists(f"/proc/{pid}")


MISTAKES = {
    "trainer.strategy=fdsp": "one of auto ddp",
    "trainer.strategy=ddp_spawn": "one of auto ddp",
    "trainer.timeout=1e15": "up to 10000000",
    "trainer.devices=[0,1]": "trainer.devices=[0, 1]: a number of processes, or auto",
    "trainer.devices=two": "trainer.devices=two: a number of processes, or auto",
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_about_devices_is_told_in_one_line(command, mistake, run_directories):
    ended = command(*TINY, *spread("ddp", 8), mistake)
    (line,) = ended.stderr.splitlines()
    assert ended.status == 2 and mistake.split("=")[0] in line and MISTAKES[mistake] in line
    assert run_directories() == []


REFUSED = {
    "compiling": (["model.compile=true"], "model.compile=true: false"),
    "searching for a batch": (["trainer.fit_batch=true"], "trainer.fit_batch=true: false"),
    "scaled gradients": (["trainer.precision=16-mixed"], "trainer.precision=16-mixed: one of"),
    "8 bits": (["optimizer=adamw_8bit"], "optimizer=adamw_8bit: another one"),
    "a fused kernel": (["optimizer=adagrad"], "optimizer.fused=true: false"),
    "quantised weights": (["trainer.precision=auto", "precision=int8_qat"], "precision=int8_qat: fp32 or bf16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sharded_is_refused_in_one_line(command, case, run_directories):
    overrides, words = REFUSED[case]
    ended = command(*TINY, *spread("fsdp", 8), *overrides)
    (line,) = ended.stderr.splitlines()
    assert ended.status == 2 and words in line and "trainer.strategy=fsdp" in line
    assert run_directories() == []


@pytest.mark.slow
def test_checkpoints_in_parts_are_those_of_a_sharded_run(command, run_directories):
    ended = command(*TINY, *spread("ddp", 8), "trainer.sharded_checkpoints=true")
    assert ended.status == 2
    assert "trainer.sharded_checkpoints=true: false unless trainer.strategy=fsdp" in ended.stderr
    assert run_directories() == []
