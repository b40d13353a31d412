"""Promises of a run that is continued with other settings: refused, or said once, with what differs."""

import json
import shutil

import numpy as np
import pytest
import torch
from checkpoints import finished_fixture, run_fixture  # noqa: F401
from programs import record_of
from tiny import TINY

from frontpage.command.errors import UserError
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.runs.provenance import differences
from frontpage.runs.reopen import load_run
from frontpage.runs.resumed_settings import _differing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer=sgd", ["another optimizer than SGD", "betas (only in the checkpoint)"]),
        ("callbacks=ema", ["no averaged weights", "callbacks=ema"]),
    ],
)
def test_what_cannot_be_continued_says_what_differs(finished, command, override, words):
    outcome = command(*TINY, override, f"ckpt_path={finished}/checkpoints/last.ckpt")
    assert outcome.status == 2
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_keys_that_came_later_are_no_difference_where_they_are_off():
    before = {"optimizer": {"lr": 0.1, "fused": None}, "model": {"a": 1}}
    later = {"optimizer": {"lr": 0.1, "fused": None, "split_fused": False}, "model": {"a": 1, "others": 0.0, "b": {}}}
    assert [*_differing(before, later)] == []
    old = {"_target_": "frontpage.models.gpt.GPT"}
    assert differences(old, old | {"addition": {}}) == {}
    later["optimizer"]["fused"], later["optimizer"]["split_fused"], later["model"]["others"] = False, True, 0.5
    found = [("optimizer.fused", None, False), ("optimizer.split_fused", None, True), ("model.others", None, 0.5)]
    assert [*_differing(before, later)] == found


def test_a_key_that_came_later_is_no_difference_where_it_has_its_default():
    muon = {"_target_": "frontpage.recipe.optimizers.muon.Muon", "lr": 0.1}
    assert [*_differing(muon, muon | {"iteration": "auto", "ns_steps": 5})] == []
    assert [*_differing(muon, muon | {"iteration": "float32"})] == [("iteration", None, "float32")]
    assert [*_differing(muon | {"iteration": "auto"}, muon)] == [("iteration", "auto", None)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lr=0.002"], ["optimizer.lr=0.002 (was 0.001)", "init_from"]),
        (
            ["optimizer.betas=[0.8,0.9]", "seed=2"],
            ["optimizer.betas=[0.8, 0.9] (was [0.9, 0.95])", "seed=2 (was 1337)"],
        ),
        (["model.tie_embeddings=false"], ["model.tie_embeddings=false (was true)", "init_from"]),
        (["model.tie_embeddings=false", "optimizer=sgd"], ["model.tie_embeddings=false (was true)"]),
        (["data.batch_size=4"], ["data.batch_size=4 (was 8)"]),
        (
            ["trainer=ddp_cpu", "trainer.max_epochs=4"],
            ["trainer.devices=2 (was 1)"],
        ),  # with as many rows each, which are other rows
        (
            ["trainer=ddp_cpu", "trainer.max_epochs=4", "data.batch_size=5"],
            ["trainer.devices=2 (was 1)", "data.batch_size=5 (was 8)"],
        ),
        (["data.seed=2"], ["data.seed=2 (was 1337)"]),
        (["trainer.max_steps=3"], ["stands at update 17", "trainer.max_steps end the run at 3"]),
    ],
)
def test_what_a_checkpoint_has_settled_cannot_be_set_anew(finished, command, overrides, words):
    outcome = command(*TINY, *overrides, f"ckpt_path={finished}/checkpoints/last.ckpt")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    assert all(word in outcome.stderr for word in words), outcome.stderr


@pytest.mark.slow
def test_other_rows_are_refused_where_no_key_tells_how_many_devices_there_are(finished, command, tmp_path):
    """As with trainer.devices=auto on another number of GPUs or nodes."""
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "run.json").write_text(json.dumps(record_of(run) | {"world_size": 2}))
    outcome = command(*TINY, f"ckpt_path={run}/checkpoints/last.ckpt")
    assert outcome.status == 2 and "8 rows of all processes at once (they were 16)" in outcome.stderr


@pytest.mark.slow
def test_settings_that_hold_from_now_on_are_said_once(run, command):
    """And nothing is said of those that follow from them, of places, or of a run that is continued as it was."""
    (run / "run.json").write_text((run / "run.json").read_text().replace('"status": "finished"', '"status": "failed"'))
    changed = ("trainer.max_epochs=2", "scheduler.warmup=3", "val_interval=20", "callbacks.loss_spike=null")
    outcome = command(*TINY, "save_interval=5", *changed, f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    (said,) = [notice for notice in record_of(run)["notices"] if "other settings" in notice]
    assert said.endswith(
        "scheduler.warmup=3 (was 0), trainer.max_epochs=2 (was 1), callbacks.loss_spike=null (was LossSpike)"
    )
    assert "val_interval=20 (was null)" in said and "trainer.val_interval" not in said
    path = run.rename(run.parent / "moved") / "checkpoints" / "last-1.ckpt"
    outcome = command(*TINY, "save_interval=5", *changed, f"ckpt_path={path}")
    assert outcome.status == 0 and "other settings" not in outcome.stdout


@pytest.mark.slow
def test_callbacks_that_differ_are_named_on_the_console(run, command):
    path = run / "checkpoints" / "last-1.ckpt"
    outcome = command(
        *TINY, "callbacks=early_stopping", f"ckpt_path={path}", "hydra.run.dir=" + str(run.parent / "new")
    )
    assert outcome.status == 0, outcome.stderr
    assert "EarlyStopping" in outcome.stdout and "not in the checkpoint" in outcome.stdout


@pytest.mark.slow
def test_another_version_of_the_tokenizers_library_goes_on_with_the_same_titles_only(finished, command, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    record = record_of(run)
    record["versions"]["tokenizers"], record["data"]["fingerprint"] = "0.1", "0" * 32
    del record["sittings"][0]["fingerprint"]  # as before it was written down
    (run / "run.json").write_text(json.dumps(record))
    words = (*TINY, "trainer.max_epochs=2", f"ckpt_path={run}/checkpoints/last.ckpt")
    outcome = command(*words)
    assert outcome.status == 0, outcome.stderr
    assert "tokenizers 0.1 has begun the run" in outcome.stdout
    on = tmp_path / "on"
    assert command(*words, f"hydra.run.dir={on}").status == 0
    sittings = [one["fingerprint"] for one in record_of(on)["sittings"]]
    assert sittings == ["0" * 32, record_of(on)["data"]["fingerprint"]] and len({*sittings}) == 2
    best = on / "checkpoints/best.ckpt"
    for titles in ("0" * 32, "1" * 32):  # as the first sitting would have left it, and of another run
        checkpoint = torch.load(best, weights_only=True)
        checkpoint["provenance"]["titles"] = titles
        CheckpointFile().save_checkpoint(checkpoint, best)
        if titles == sittings[0]:
            assert load_run(on)[1] is not None
    with pytest.raises(UserError, match="trained on other titles"):
        load_run(on)
    hashes = np.load(run / "training_titles.npy")
    np.save(run / "training_titles.npy", hashes[1:])
    outcome = command(*words)
    assert outcome.status == 2 and "its texts were others" in outcome.stderr, outcome.stderr
