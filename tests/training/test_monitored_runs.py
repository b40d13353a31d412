"""Promises of runs with monitors: training does not notice them, and a resumed run measures what a whole one does."""

import csv
import json
import subprocess
import sys

import pytest
from parallel_runs import SMALL
from run_outputs import checkpoint_of, losses_of, same, stop_at
from tiny import ROOT, TINY

from frontpage.command.endings import Interrupted

BOTH = (
    "callbacks=[procrustes,concepts]",
    "callbacks.procrustes.texts=30",
    "callbacks.concept_clustering.texts=30",
    "callbacks.concept_clustering.least=3",
)
EVERY = ("callbacks.procrustes.every=3", "callbacks.concept_clustering.every=4", "log_interval=1")
TITLES = (*TINY, "data.num_titles=1500", "trainer.max_epochs=null", "trainer.max_steps=13", "model.dropout=0.2")
NOISY = (*TITLES, "model.attention_dropout=0.1")
PARALLEL = (*SMALL, "trainer.max_steps=13", "val_interval=6", "callbacks.concept_clustering.labels=language")
LANGUAGES = "callbacks.procrustes.modes=[layers,drift,languages]"


def lines_of(directory):
    return [json.loads(line) for line in (directory / "monitors.jsonl").read_text().splitlines()]


def without(settings):
    """The same run without its monitors."""
    return [one for one in settings if "procrustes" not in one and "concept" not in one]


def trained(command, path, *settings, status=0):
    ended = command(*settings, f"hydra.run.dir={path}")
    assert ended.status == status, ended.stdout[-2000:] + ended.stderr
    return path


SLOW = pytest.mark.slow
RUNS = [
    pytest.param((*NOISY, *BOTH, *EVERY), id="titles"),
    pytest.param((*NOISY, *BOTH, *EVERY, "trainer.accumulate_grad_batches=2"), id="accumulated", marks=SLOW),
    pytest.param((*NOISY, *BOTH, *EVERY, "model=unet_gpt", "model.n_layer=4"), id="unet", marks=SLOW),
    pytest.param((*NOISY, *BOTH, *EVERY, "trainer.precision=bf16-mixed"), id="bf16-mixed", marks=SLOW),
    pytest.param((*PARALLEL, *BOTH, *EVERY, LANGUAGES, "model.dropout=0.2"), id="parallel", marks=SLOW),
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", RUNS)
def test_training_does_not_notice(command, tmp_path, settings):
    watched, plain = trained(command, tmp_path / "watched", *settings), tmp_path / "plain"
    trained(command, plain, *without(settings))
    losses = [[loss for loss in losses_of(path) if any(loss[1:])] for path in (watched, plain)]
    assert losses[0] == losses[1] and len(losses[0]) >= 13
    one, other = checkpoint_of(watched), checkpoint_of(plain)
    for part in ("state_dict", "optimizer_states"):
        assert same(one[part], other[part]), part
    assert same(one["callbacks"]["RandomState"], other["callbacks"]["RandomState"])
    steps = [(line["monitor"], line["step"]) for line in lines_of(watched)]
    assert [step for name, step in steps if name == "procrustes"] == [3, 6, 9, 12]
    assert [step for name, step in steps if name == "concepts"] == [4, 8, 12]
    modes = {row["mode"] for row in lines_of(watched)[-2]["rows"] if "mode" in row}
    assert not (plain / "monitors.jsonl").exists() and modes <= {"layers", "drift", "languages"}
    with (watched / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = {int(row["step"]) + 1 for row in rows if row["monitors/procrustes/layers/disparity"]}
    assert logged == {3, 6, 9, 12}
    last = next(row for row in reversed(rows) if row["monitors/concepts/silhouette"])
    of_layers = [row["silhouette"] for row in lines_of(watched)[-1]["rows"]]
    assert float(last["monitors/concepts/silhouette"]) == pytest.approx(sum(of_layers) / len(of_layers))


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", [5, 6, 12])  # between measurements, and at one that the signal comes before
def test_a_resumed_run_measures_what_a_whole_one_does(command, tmp_path, monkeypatch, stopped_at):
    settings = (*NOISY, *BOTH, *EVERY)
    whole, broken = trained(command, tmp_path / "whole", *settings), tmp_path / "broken"
    with monkeypatch.context() as patch:
        stop_at(patch, stopped_at, False, Interrupted("stopped"))
        trained(command, broken, *settings, status=130)
    trained(command, broken, *settings, "ckpt_path=last")
    assert lines_of(broken) == lines_of(whole)
    one, other = checkpoint_of(whole), checkpoint_of(broken)
    assert same(one["callbacks"]["ProcrustesMonitor"], other["callbacks"]["ProcrustesMonitor"])
    assert one["callbacks"]["ProcrustesMonitor"]["measured_at"] == 12


@pytest.mark.slow
def test_a_run_that_goes_back_forgets_what_came_after(command, tmp_path):
    settings = (*NOISY, *BOTH, *EVERY, "val_interval=5", "callbacks.last_checkpoint.keep=9")
    run = trained(command, tmp_path / "run", *settings)
    before = lines_of(run)
    (run / "monitors.jsonl").write_text((run / "monitors.jsonl").read_text() + '{"monitor": "procr')
    for path in (run / "checkpoints").glob("*.ckpt"):
        if path.name != "step-000005.ckpt":
            path.unlink()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "running"}))  # as a kill would leave it
    trained(command, run, *settings, "ckpt_path=last")
    assert lines_of(run) == before


@pytest.mark.slow
def test_weights_that_stand_still_crystallise(command, tmp_path):
    settings = (*NOISY, "callbacks=procrustes", "callbacks.procrustes.every=2", "callbacks.procrustes.patience=2")
    run = trained(command, tmp_path / "run", *settings, "optimizer.lr=0", "callbacks.procrustes.modes=[drift]")
    rows = {line["step"]: line["rows"] for line in lines_of(run)}
    assert [len(found) for found in rows.values()] == [0, 2, 2, 2, 2, 2]
    assert all(row["disparity"] < 1e-9 for found in rows.values() for row in found)
    assert [row["crystallised_at"] for row in rows[12]] == [6, 6]


@pytest.mark.slow
def test_a_run_is_at_its_own_checkpoint_when_it_comes_there_again(command, tmp_path):
    settings = (*NOISY, "scheduler=constant", "save_interval=4", "trainer.max_steps=8")
    first = trained(command, tmp_path / "first", *settings, "callbacks.last_checkpoint.keep=9")
    reference = f"callbacks.procrustes.reference={first}/checkpoints/step-000004.ckpt"
    watched = (*settings, "callbacks=procrustes", "callbacks.procrustes.every=4")
    second = trained(command, tmp_path / "second", *watched, "callbacks.procrustes.modes=[reference]", reference)
    rows = {line["step"]: line["rows"] for line in lines_of(second)}
    assert [row["disparity"] for row in rows[4]] == pytest.approx([0, 0], abs=1e-9)
    assert all(row["disparity"] > 1e-7 for row in rows[8])
    assert same(
        checkpoint_of(first)["state_dict"], checkpoint_of(second)["state_dict"]
    )  # drawn weights disturb nothing
    deep = ("model.n_layer=2", "callbacks.procrustes.layers=[0,2]")
    ended = command(*watched, *deep, "callbacks.procrustes.modes=[reference]", reference)
    assert ended.status == 2 and "its last layer is 1, this run's 2" in ended.stderr, ended.stderr


@pytest.mark.slow
def test_averaged_weights_are_validated_and_those_as_trained_are_watched(command, tmp_path):
    averaged = ("callbacks=[ema,procrustes]", "callbacks.procrustes.every=13", "callbacks.ema.decay=0.9")
    settings = (*NOISY, "callbacks.procrustes.modes=[layers]", "val_interval=13")
    one = trained(command, tmp_path / "averaged", *settings, *averaged)
    plain = ("callbacks=procrustes", "callbacks.procrustes.every=13")
    other = trained(command, tmp_path / "plain", *settings, *plain)
    assert lines_of(one) == lines_of(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "pieces"),
    [
        (["callbacks.procrustes.modes=[layer]"], ["procrustes.modes=['layer']", "layers drift languages reference"]),
        (["callbacks.procrustes.every=0"], ["callbacks.procrustes.every=0", "at least 1"]),
        (["callbacks.procrustes.modes=[languages]"], ["callbacks.procrustes.modes=", "data=parallel"]),
        (["callbacks.procrustes.modes=[reference]"], ["callbacks.procrustes.reference=", "a run or a checkpoint"]),
        (["callbacks.procrustes.layers=[7]"], ["callbacks.procrustes.layers=[7]", "to 1, the last block"]),
        (["callbacks.concept_clustering.labels=book"], ["callbacks.concept_clustering.labels=book", "concepts"]),
        (["callbacks.concept_clustering.concepts={a:[x]}"], ["callbacks.concept_clustering.concepts=", "at least 2"]),
    ],
    ids=lambda value: value[0],
)
def test_mistakes(command, tmp_path, overrides, pieces):
    ended = command(*NOISY, *BOTH, *overrides)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= 3, ended.stderr
    assert all(piece in ended.stderr for piece in pieces), ended.stderr
    assert not list((tmp_path / "logs").glob("runs/*/*/checkpoints"))


@pytest.mark.slow
def test_a_task_that_the_package_does_not_know_is_watched_too(command, tmp_path):
    settings = (f"--config-dir={ROOT}/tests/shared/toy_task_configs", "experiment=toy", "callbacks=procrustes")
    run = trained(command, tmp_path / "run", *settings, "callbacks.procrustes.every=3")
    assert [line["step"] for line in lines_of(run)] == [3, 6, 9]
    assert all(row["disparity"] is not None for line in lines_of(run) for row in line["rows"])


@pytest.mark.slow
def test_of_two_processes_the_first_one_measures(tmp_path):
    settings = (*NOISY, *BOTH, *EVERY, "trainer.devices=2", "trainer.strategy=ddp")
    places = (f"hydra.run.dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache")
    ended = subprocess.run([sys.executable, "train.py", *settings, *places], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    steps = [(line["monitor"], line["step"]) for line in lines_of(tmp_path / "run")]
    assert steps == [("procrustes", 3), ("concepts", 4), ("procrustes", 6), ("concepts", 8), ("procrustes", 9),
                     ("procrustes", 12), ("concepts", 12)]  # fmt: skip
