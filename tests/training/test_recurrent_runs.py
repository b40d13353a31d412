"""Promises of runs whose net goes through its layers twice from a share on: what is recorded, and what is reopened."""

import csv

import pytest
from programs import record_of, train_tiny, training_titles
from run_outputs import checkpoint_of
from tiny import TINY, composed

from frontpage.command.build import build
from frontpage.evaluation.losses import language_loss
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run
from frontpage.training.memory.fake_step import fake_step

TWICE = "net.additions.recurrence.twice"
RUN = ("model/addition=recurrence", "model.addition.recurrence.start=0.5", "model.n_layer=2", "trainer.max_steps=10")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run of ten updates, the last five of them with two rounds."""
    return train_tiny(tmp_path_factory.mktemp("recurrent") / "run", *RUN, "val_interval=5", "callbacks=ema")


@pytest.mark.slow
def test_each_checkpoint_says_how_many_rounds_its_weights_have(run):
    for name, twice in (("last-1", False), ("last", True)):
        saved = checkpoint_of(run, name)
        assert saved["state_dict"][TWICE] == saved["current_model_state"][TWICE] == twice


@pytest.mark.slow
def test_what_is_reopened_has_the_rounds_of_the_validation_that_it_was_saved_at(run):
    with (run / "metrics.csv").open() as file:
        measured = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    _, validation = training_titles(run)
    for name, rounds, expected in (("last-1", 1, measured[0]), ("last", 2, measured[1])):
        config, module = load_run(run, str(run / "checkpoints" / f"{name}.ckpt"))
        assert module.net.rounds == rounds
        found = ScoredTitles(module, validation, config.data).metrics()["val/loss"]
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_its_operations_are_those_of_the_rounds_that_each_update_had(run):
    _, module = load_run(run, "last")
    expected = 0.0
    for share in (0.0, 1.0):
        module.net.additions["recurrence"].at(share)
        expected += 5 * 8 * 32 * module.flops_per_token(32)  # updates, rows, tokens
    assert record_of(run)["tokens_seen"] == 10 * 8 * 32
    assert record_of(run)["training_flops"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_the_first_round_keeps_its_result_alone_for_the_backward_pass(checkpointing):
    more = ("model/addition=recurrence", f"model.activation_checkpointing={checkpointing}")
    net, kept = build(composed(*TINY, *more).model, "model", vocab_size=300).net, []
    for share in (0.0, 1.0):
        net.additions["recurrence"].at(share)
        step = fake_step(net, language_loss, 8, 32, precision="bf16-mixed", document_mask=True)
        kept.append(sum(step.saved.values()))
    assert kept[1] - kept[0] == (8 * 32 * 32 * 4 if checkpointing == "full" else 0)
