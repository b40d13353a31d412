"""Promises to what older versions have left: runs reopen, go on and export, searches continue.

tests/fixtures/afbda3e holds what this project wrote at that commit, before the package had its twelve folders: a run of
60 updates, the same run killed behind update 20, and the journal of a search of three trials. Made on one thread by
`python train.py experiment=quickstart trainer.precision=32-true model.n_layer=1 model.d_model=16 model.n_head=2
trainer.max_steps=60 data.num_titles=300 tokenizer.vocab_size=280 data.block_size=32 data.batch_size=8 val_interval=20
log_interval=5 save_interval=20`.
"""

import shutil

import optuna
import pytest
import torch
from omegaconf import OmegaConf
from programs import record_of, run_script
from run_outputs import losses_of
from tiny import ROOT

from frontpage.command.moved_targets import moved, with_todays_targets
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run
from frontpage.sweeps.storage import open_storage

OLD = ROOT / "tests/fixtures/afbda3e"
SMALL = "trainer.precision=32-true model.n_layer=1 model.d_model=16 model.n_head=2 data.num_titles=300"
SMALL = ("experiment=quickstart", *SMALL.split(), "tokenizer.vocab_size=280", "data.block_size=32", "data.batch_size=8")
INTERVALS = ("trainer.max_steps=60", "val_interval=20", "log_interval=5", "save_interval=20")


@pytest.fixture
def old(tmp_path):
    """old(name) is a copy of what was written then, which a test may write to."""

    def copied(name):
        return shutil.copytree(OLD / name, tmp_path / name)

    return copied


def test_an_old_run_reopens_and_scores_what_it_scored(old):
    directory = old("finished")
    config, module = load_run(directory)
    data = OmegaConf.to_container(config.data)
    from frontpage.data.synthetic import SyntheticTitles

    known = {key: value for key, value in data.items() if key not in ("_target_", "tokenizer", "test_path")}
    titles = SyntheticTitles(**known, tokenizer=None, test_path=None).select().validation
    then = record_of(directory)["metrics"]["final"]
    now = ScoredTitles(module, titles, config.data).metrics()
    assert now["val/nats_per_char"] == pytest.approx(then["val/nats_per_char"], rel=1e-6)
    assert now["val/loss"] == pytest.approx(then["val/loss"], rel=1e-6) and now["val/coverage"] == 1


@pytest.mark.slow
def test_an_old_run_that_was_killed_goes_on_as_if_it_had_not_been(command, old):
    """To the bits on the machine that began it; another one rounds otherwise."""
    directory = old("killed")
    outcome = command(*SMALL, *INTERVALS, f"hydra.run.dir={directory}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    expected = record_of(OLD / "finished")["metrics"]["final"]
    found = record_of(directory)["metrics"]["final"]
    for name in ("val/loss", "val/nats_per_char", "val/bits_per_byte", "train/loss", "val/packed_nats_per_char"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    steps = [[row[0] for row in losses_of(one)] for one in (directory, OLD / "finished")]
    assert steps[0] == steps[1]
    weights = [torch.load(one / "checkpoints/last.ckpt")["state_dict"] for one in (directory, OLD / "finished")]
    for name, weight in weights[1].items():
        torch.testing.assert_close(weights[0][name], weight, rtol=1e-3, atol=1e-4)


def test_an_old_run_exports(old, tmp_path, capfd):
    pytest.importorskip("safetensors", reason="the extra export is not installed")
    ended = run_script(capfd, "export", old("finished"), "--format", "safetensors", "--output", tmp_path / "out")
    assert ended.status == 0 and "compared: loaded again" in ended.stdout, ended


@pytest.mark.slow
def test_an_old_search_continues(command, tmp_path):
    journal = shutil.copy(OLD / "study.log", tmp_path / "study.log")
    search = ["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=old", "hydra.sweeper.n_trials=4"]
    search += ["optimizer.lr=interval(0.001,0.01)", f"hydra.sweeper.storage={journal}", f"hydra.sweep.dir={tmp_path}"]
    outcome = command(*SMALL, "trainer.max_steps=20", *search)
    assert outcome.status == 0, outcome.stdout[-2000:] + outcome.stderr
    trials = optuna.load_study(study_name="old", storage=open_storage(str(journal))).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert trials[2].value == pytest.approx(4.34237, abs=1e-5)


def test_a_modern_net_of_then_is_a_gpt_with_its_settings():
    old = {"model": {"_target_": "frontpage.models.modern.ModernModule", "n_kv_head": 2, "positions": "rotary"}}
    now = with_todays_targets(old)["model"]
    assert now["_target_"] == "frontpage.recipe.modules.GPTModule"
    assert (now["activation"], now["norm"], now["bias"], now["positions"]) == ("swiglu", "rms", False, "rotary")


def test_what_has_not_moved_keeps_its_name():
    for name in ("frontpage.attention.local.LocalAttention", "torch.optim.AdamW", "frontpage.data.hn_titles.HNTitles"):
        assert moved(name) == name
