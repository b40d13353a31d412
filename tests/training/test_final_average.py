"""Promises of the final average: the mean of the chosen weights, nothing before its start, the same after a resume."""

import pytest
import torch
from programs import record_of, train_tiny
from refusals import mistake_fixture  # noqa: F401
from run_outputs import checkpoint_of, losses_of, same, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.run_sizes import RunSizes, by_epoch
from frontpage.runs.reopen import load_run
from frontpage.training.callbacks.final_average import FinalAverage

# 17 updates an epoch.
AVERAGE = ("callbacks=final_average", "trainer.max_epochs=9", "callbacks.sample_titles=null")
AVERAGE += ("model.original_metric=never", "model.packed_metric=never", "val_interval=4", "log_interval=1")
ALL_KEPT = ("save_interval=1", "callbacks.last_checkpoint.keep=99")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same 16 updates, with and without an average from the tenth on; every update has a checkpoint."""
    places, settings = tmp_path_factory.mktemp("runs"), (*AVERAGE, *ALL_KEPT, "trainer.max_steps=16")
    chosen = ("callbacks.final_average.start=10", "callbacks.final_average.every=2")
    averaged = train_tiny(places / "averaged", *settings, *chosen)
    return averaged, train_tiny(places / "plain", *settings, "callbacks=default")


def kept(directory, update):
    return checkpoint_of(directory, f"step-{update:06}")


def assert_mean(directory, updates):
    """The run's end has the mean of the weights as trained after these updates."""
    saved, loaded = checkpoint_of(directory), load_run(directory, "last")[1].state_dict()
    trained = [kept(directory, update)["current_model_state"] for update in updates]
    assert same(saved["state_dict"], dict(loaded)) and same(saved["current_model_state"], trained[-1])
    for name, weight in saved["state_dict"].items():
        expected = sum(one[name].double() for one in trained) / len(updates)
        torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_it_is_the_mean_of_the_weights_after_the_chosen_updates(runs):
    averaged, plain = runs
    assert_mean(averaged, [10, 12, 14, 16])
    assert record_of(averaged)["validated_weights"] == "mean of those every 2 updates, from start=10 on"
    assert record_of(plain)["validated_weights"] == "as trained"


@pytest.mark.slow
def test_before_its_start_validations_and_checkpoints_are_of_the_weights_as_trained(runs):
    averaged, plain = runs
    validated = {}
    for one, other in zip(*map(losses_of, runs), strict=True):
        assert one[:2] == other[:2]  # training does not notice
        if one[2]:
            validated[int(one[0]) + 1] = one[2] == other[2]
    assert validated == {4: True, 8: True, 12: False, 16: False}
    for update in range(1, 17):
        saved = kept(averaged, update)
        assert same(saved["current_model_state"], kept(plain, update)["state_dict"])
        assert same(saved["state_dict"], saved["current_model_state"]) == (update <= 10)


@pytest.mark.slow
def test_without_an_interval_it_is_of_the_ends_of_epochs_and_of_the_run(tmp_path):
    chosen = ("callbacks.final_average.every=null", "callbacks.final_average.start=0.4", "val_interval=40")
    run = train_tiny(tmp_path / "run", *AVERAGE, *ALL_KEPT, *chosen, "trainer.max_steps=40")
    assert_mean(run, [17, 34, 40])


EVERYTHING = ("optimizer=muon", "optimizer.split_fused=true", "optimizer.equalise_rows=true", "model.activation=swiglu")
EVERYTHING += ("optimizer.weight_decay=[[0,1],[0.5,0.2],[1,2]]", "model.weight_decay_of_others=1", "save_interval=3")
EVERYTHING += ("callbacks.final_average.start=0.5", "callbacks.final_average.every=2", "trainer.max_steps=16")


@pytest.mark.parametrize(
    ("step", "validating"),
    [(11, False), pytest.param(7, False, marks=pytest.mark.slow), pytest.param(12, True, marks=pytest.mark.slow)],
)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(command, tmp_path, monkeypatch, step, validating):
    """With Muon's options and a course of the decay as well."""
    run, places = (*TINY, *AVERAGE, *EVERYTHING), [f"hydra.run.dir={tmp_path}/{name}" for name in ("whole", "broken")]
    assert command(*run, places[0]).status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, step, validating, Interrupted("stopped"))
        assert command(*run, places[1]).status == 130
    outcome = command(*run, places[1], "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    for name in ("last", "best"):
        first, second = (checkpoint_of(tmp_path / one, name) for one in ("whole", "broken"))
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "averaging_state"):
            assert same(first[part], second[part]), (name, part)
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "broken")


@pytest.mark.slow
def test_a_run_that_is_made_longer_averages_anew_in_its_last_part(tmp_path):
    chosen = (*ALL_KEPT, "callbacks.final_average.start=0.5", "callbacks.final_average.every=2")
    run = train_tiny(tmp_path / "run", *AVERAGE, *chosen, "trainer.max_steps=8")
    assert_mean(run, [4, 6, 8])
    train_tiny(run, *AVERAGE, *chosen, "trainer.max_steps=20", "ckpt_path=last")
    assert_mean(run, [10, 12, 14, 16, 18, 20])
    assert any("averages anew from update 10 on" in one for one in record_of(run)["notices"])


@pytest.mark.slow
def test_a_run_that_is_made_longer_drops_weights_that_it_would_not_have_chosen(tmp_path):
    """Of 8 updates those from the fourth on, of 12 those from the sixth: what was averaged until 8 has the fourth."""
    chosen = (*ALL_KEPT, "callbacks.final_average.start=0.5", "callbacks.final_average.every=1")
    run = train_tiny(tmp_path / "run", *AVERAGE, *chosen, "trainer.max_steps=8")
    assert_mean(run, [4, 5, 6, 7, 8])
    train_tiny(run, *AVERAGE, *chosen, "trainer.max_steps=12", "ckpt_path=last")
    assert_mean(run, [9, 10, 11, 12])
    assert any("averages anew from update 9 on" in one for one in record_of(run)["notices"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["callbacks.final_average.start=1.5"], ["callbacks.final_average.start=1.5", "a share of the run below 1"]),
        (["callbacks.final_average.every=0"], ["callbacks.final_average.every=0", "at least 1"]),
        (["callbacks.final_average.start=0.9", "trainer.max_steps=20"], ["callbacks.final_average.start=0.9", "fewer"]),
        (["callbacks=[ema,final_average]"], ["callbacks", "one average"]),
        (["trainer.precision=bf16-true"], ["trainer.precision=bf16-true", "fp32"]),
        (["callbacks=ema", "trainer.precision=bf16-true"], ["trainer.precision=bf16-true", "fp32"]),
    ],
)
def test_what_cannot_be_averaged_is_refused(mistake, overrides, words):
    mistake([*AVERAGE, *overrides], *words)


@pytest.mark.slow
def test_a_run_goes_on_with_the_average_that_it_had(command, runs):
    averaged, plain = (f"ckpt_path={run}/checkpoints/last.ckpt" for run in runs)
    for callbacks, last, words in (
        ("ema", averaged, "averaged otherwise"),
        ("default", averaged, "averages none"),
        ("final_average", plain, "no averaged weights"),
    ):
        outcome = command(*TINY, f"callbacks={callbacks}", "trainer.max_epochs=9", last)
        assert outcome.status == 2 and words in outcome.stderr, outcome.stderr


def test_the_chosen_updates_count_back_from_the_last():
    alike = RunSizes.same(EpochSizes(tokens=300, block_size=10, batch_size=1))  # 30 updates an epoch
    assert FinalAverage(start=0.6, every=10)._chosen(95, alike) == [65, 75, 85, 95]
    assert FinalAverage(30, None)._chosen(95, alike) == [30, 60, 90, 95]
    assert FinalAverage(0, 1)._chosen(4, alike) == [1, 2, 3, 4]


def test_without_an_interval_epochs_that_differ_end_where_they_do():
    sizes = by_epoch(EpochSizes(tokens=170, block_size=10, batch_size=1), (1, 2))  # 17 updates, then 9 an epoch
    assert FinalAverage(0, None)._chosen(40, sizes) == [17, 26, 35, 40]
    assert sizes.ends(26) == [17, 26] and sizes.ends(3) == [3]
