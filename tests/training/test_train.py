"""Promises of training: what a run leaves behind, determinism, what stops it, and how it goes on."""

import json
import math

import pytest
import torch
from programs import record_of, training_titles, weights_of
from run_outputs import events_of, losses_of, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run

METRICS = {
    "val/loss",
    "val/perplexity",
    "val/nats_per_char",
    "val/nats_per_char_se",
    "val/packed_nats_per_char",
    "val/bits_per_byte",
    "val/coverage",
    "val/mainrun_loss",
    "val/mainrun_coverage",
    "train/loss",
    "train/perplexity",
    "train/learning_rate",
    "train/grad_norm",
    "train/weight_norm",
    "time/elapsed_seconds",
    "time/tokens_per_second",
    "memory/peak_bytes",
}
RECORD = {
    "command",
    "config",
    "git_commit",
    "git_dirty",
    "versions",
    "parameters",
    "non_embedding_parameters",
    "tokens_seen",
    "steps",
    "seconds",
    "tokens_per_second",
    "training_flops",
    "model_flops_utilization",
    "matmul_peak_flops",
    "peak_memory_bytes",
    "estimated_memory_bytes",
    "attention",
    "metrics",
    "data",
    "status",
    "reason",
}


def test_a_run_leaves_a_complete_record(command, run_directories):
    outcome = command(*TINY, "log_interval=1", "trainer.max_epochs=2")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr == ""
    (directory,) = run_directories()
    record = record_of(directory)
    assert record["status"] == "finished" and record["reason"] is None
    assert set(record) >= RECORD
    assert set(record["metrics"]["final"]) >= METRICS
    assert record["metrics"]["best"]["val/nats_per_char"] <= record["metrics"]["final"]["val/nats_per_char"]
    assert record["metrics"]["final"]["val/coverage"] == 1
    assert record["tokens_seen"] == 2 * record["data"]["train_tokens"]
    assert record["attention"] == {"class": "CausalAttention", "backend": "sdpa", "visible_pairs": 1.0}
    assert record["config"]["model"]["d_model"] == 32
    assert record["parameters"] > record["non_embedding_parameters"] > 0
    assert 0 < record["model_flops_utilization"] < 1
    assert record["estimated_memory_bytes"] > 8 * record["parameters"]
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert names >= {
        "run.json",
        "config.yaml",
        "tokenizer.json",
        "metrics.csv",
        "events.jsonl",
        "samples.txt",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }


def test_the_summary_says_what_a_user_wants_to_know(command, run_directories):
    outcome = command(*TINY, "callbacks.sample_titles.num=5")
    summary = outcome.stdout[outcome.stdout.index("finished:") :]
    for word in ("train/loss", "val/loss", "val/nats_per_char", "val/coverage", "tokens/s", "floor", "run directory"):
        assert word in summary
    assert str(run_directories()[0]) in summary
    titles = summary[summary.index("invented titles:") :].splitlines()[1:6]
    assert len(titles) == 5 and all(line.startswith("    ") for line in titles)


def test_events_tell_the_whole_run(command, run_directories):
    outcome = command(*TINY, "log_interval=3", "trainer.evals_per_epoch=2")
    events = events_of(run_directories()[0])
    names = [event["event"] for event in events]
    assert names[:4] == ["hyperparameters_configured", "device_info", "dataset_info", "model_info"]
    assert set(names[4:]) == {"training_step", "validation_step"}
    assert all(isinstance(event["timestamp"], float) for event in events)
    training = [event["step"] for event in events if event["event"] == "training_step"]
    assert training == list(range(3, training[-1] + 1, 3))
    last = events[-1]
    line = f"[{last['step']:>5}/{last['max_steps']}] validation_step: loss={last['loss']:.6f} time="
    assert last["event"] == "validation_step" and line in outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("trainer.max_steps=5",), [5]),
        (("trainer.evals_per_epoch=3",), "three an epoch"),
        (("trainer.evals_per_epoch=3", "trainer.validate_first_step=true"), "three an epoch and the first"),
        (("val_interval=4", "trainer.max_steps=10"), [4, 8, 10]),
        (("trainer.max_epochs=2", "trainer.accumulate_grad_batches=2", "val_interval=3"), "every three updates"),
    ],
)
def test_validations_come_when_they_should_and_always_at_the_end(command, run_directories, asked, expected):
    assert command(*TINY, *asked).status == 0
    events = [event for event in events_of(run_directories()[0]) if event["event"] == "validation_step"]
    steps, total = [event["step"] for event in events], events[0]["max_steps"]
    per_epoch = total // 3
    expected = {
        "three an epoch": [*range(per_epoch, total + 1, per_epoch)],
        "three an epoch and the first": [1, *range(per_epoch, total + 1, per_epoch)],
        "every three updates": [*range(3, total + 1, 3)],
    }.get(str(expected), expected)
    if expected[-1] != total:
        expected = [*expected, total]
    assert steps == expected
    assert all(event["val/coverage"] == 1 for event in events)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(command, run_directories):
    arguments = (*TINY, "log_interval=1", "model.dropout=0.2", "model.attention_dropout=0.1")
    for seed in (1, 1, 2):
        assert command(*arguments, f"seed={seed}").status == 0
    first, second, other = (losses_of(directory) for directory in run_directories())
    assert first == second
    assert first != other
    data = [record_of(directory)["data"] for directory in run_directories()]
    assert data[0]["fingerprint"] == data[2]["fingerprint"], "seed must not change which titles are used"


def test_inventing_titles_does_not_disturb_training(command, run_directories):
    arguments = (*TINY, "log_interval=1", "model.dropout=0.2", "trainer.evals_per_epoch=4")
    assert command(*arguments).status == 0
    assert command(*arguments, "callbacks.sample_titles.num=3", "callbacks.sample_titles.seed=7").status == 0
    first, second = (losses_of(directory) for directory in run_directories())
    assert first == second


RESUMED = (*TINY, "model.dropout=0.2", "trainer.max_epochs=3", "log_interval=1", "val_interval=10")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The weights and the losses of the run that no test interrupts."""
    return {}


# Within an epoch (17 updates), at its end, right behind it; in training (False) or in a validation (True).
STOPS = [(5, False), (17, True), (18, False), (34, True)]
OTHERS = [(step, not validating) for step, validating in STOPS]


@pytest.mark.parametrize(
    ("step", "validating"), [*STOPS, *(pytest.param(*stop, marks=pytest.mark.slow) for stop in OTHERS)]
)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    command, tmp_path, monkeypatch, uninterrupted, step, validating
):
    if not uninterrupted:
        assert command(*RESUMED, f"hydra.run.dir={tmp_path}/whole").status == 0
        uninterrupted["weights"] = weights_of(tmp_path / "whole")
        uninterrupted["last"] = losses_of(tmp_path / "whole")[-1]
        uninterrupted["tokens"] = record_of(tmp_path / "whole")["tokens_seen"]
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        stop_at(patch, step, validating, Interrupted("stopped"))
        assert command(*RESUMED, f"hydra.run.dir={broken}").status == 130
    assert record_of(broken)["status"] == "interrupted"
    assert command(*RESUMED, f"hydra.run.dir={broken}", "ckpt_path=last").status == 0
    record, got = record_of(broken), weights_of(broken)
    assert record["status"] == "finished" and record["tokens_seen"] == uninterrupted["tokens"]
    assert all(torch.equal(uninterrupted["weights"][name], got[name]) for name in got)
    assert losses_of(broken)[-1] == uninterrupted["last"]


@pytest.mark.slow
def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(command, tmp_path, monkeypatch):
    arguments = (*RESUMED, "save_interval=6")
    assert command(*arguments, f"hydra.run.dir={tmp_path}/whole").status == 0
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        stop_at(patch, 21, False, RuntimeError("crash"))
        command(*arguments, f"hydra.run.dir={tmp_path}/broken")
    assert record_of(tmp_path / "broken")["status"] == "failed"
    assert command(*arguments, f"hydra.run.dir={tmp_path}/broken", "ckpt_path=last").status == 0
    expected, got = weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_ckpt_path_last_continues_the_newest_unfinished_run_of_the_name(command, run_directories, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        stop_at(patch, 6, False, RuntimeError("crash"))
        command(*TINY, "save_interval=4")
    outcome = command(*TINY, "save_interval=4", "ckpt_path=last")
    assert outcome.status == 0
    (directory,) = run_directories()
    assert record_of(directory)["status"] == "finished"
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    outcome = command(*TINY, f"hydra.run.dir={directory}", "ckpt_path=last")
    assert outcome.status == 0 and "finished" in outcome.stdout
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_init_from_takes_the_weights_only(command, run_directories):
    assert command(*TINY).status == 0
    (first,) = run_directories()
    assert command(*TINY, f"init_from={first}", "trainer.max_steps=1", "optimizer.lr=0.0").status == 0
    second = run_directories()[1]
    expected, got = weights_of(first, "best"), weights_of(second)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert record_of(second)["steps"] == 1


def test_the_shortest_run_still_has_every_metric(command, run_directories):
    assert command(*TINY, "trainer.max_steps=1").status == 0
    (directory,) = run_directories()
    final = record_of(directory)["metrics"]["final"]
    assert set(final) >= METRICS and final["val/coverage"] == 1


def test_the_test_set_is_scored_once_and_only_on_request(command, run_directories, tmp_path):
    file = tmp_path / "test.txt"
    file.write_text("Show HN: a title\nAsk HN: another?\n\nAsk HN: another?\n")
    assert command(*TINY, f"data.test_path={file}").status == 0
    assert command(*TINY, f"data.test_path={file}", "test=true").status == 0
    without, with_test = (record_of(directory) for directory in run_directories())
    assert "test" not in without
    assert with_test["test"]["titles"] == 2
    assert with_test["test"]["metrics"]["test/coverage"] == 1
    assert with_test["status"] == "finished"


@pytest.mark.slow
def test_a_test_set_of_training_titles_is_told_and_scored_without_them(command, run_directories, tmp_path):
    """By value: what `scripts/evaluate.py` computes from the same run."""
    command(*TINY, "trainer.max_steps=1")
    trained, validated = training_titles(run_directories()[0])
    new = ["Show HN: a title that no grammar draws", "Ask HN: another?"]
    file, all_seen = tmp_path / "some.txt", tmp_path / "all.txt"
    file.write_text("\n".join([*trained[:20], *validated[:3], *new]) + "\n")
    all_seen.write_text("\n".join(trained[:5]) + "\n")
    outcome = command(*TINY, "trainer.max_steps=1", f"data.test_path={file}", "test=true")
    assert "the run trains on 20 of its 25 titles (80.0%)" in outcome.stdout
    assert "the run chooses its best weights on 3 of its 25 titles (12.0%)" in outcome.stdout
    test = record_of(run_directories()[1])["test"]
    assert (test["seen_titles"], test["seen_share"]) == (20, 0.8)
    config, module = load_run(run_directories()[1])
    right = ScoredTitles(module, [*validated[:3], *new], config.data).metrics()["val/nats_per_char"]
    assert test["metrics_unseen"]["test/nats_per_char"] == pytest.approx(right, rel=1e-5)
    outcome = command(*TINY, "trainer.max_steps=1", f"data.test_path={all_seen}", "test=true")
    test = record_of(run_directories()[2])["test"]
    assert test["seen_share"] == 1 and test["metrics_unseen"] is None and test["metrics"]["test/nats_per_char"] > 0
    assert "all of them were trained on" in outcome.stdout


def test_a_test_set_of_one_title_is_reported_without_an_error(command, tmp_path):
    (tmp_path / "one.txt").write_text("Show HN: one\n")
    outcome = command(*TINY, "trainer.max_steps=1", f"data.test_path={tmp_path}/one.txt", "test=true")
    assert outcome.status == 0 and "(1 titles of the test set)" in outcome.stdout


def test_a_diverging_run_stops_at_once_and_says_so_in_two_lines(command, run_directories):
    outcome = command(*TINY, "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    found, advice = outcome.stderr.splitlines()
    assert outcome.status == 1 and "the run diverged" in found and "whose titles begin with" in found
    assert advice.startswith("try a lower optimizer.lr")
    record = record_of(run_directories()[0])
    assert record["status"] == "failed"
    assert "DivergenceError" in record["reason"]
    assert record["steps"] < 5


def test_load_run_rebuilds_the_model_from_its_directory_alone(command, run_directories):
    assert command(*TINY, "trainer.evals_per_epoch=3").status == 0
    (directory,) = run_directories()
    config, module = load_run(directory)
    assert config.name == "gpt" and not module.training
    logits = module(torch.zeros(2, 5, dtype=torch.int64))
    assert logits.shape == (2, 5, module.net.vocab_size)
    saved = torch.load(directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in module.state_dict().items())


def test_secrets_are_masked_in_the_record(command, run_directories, config):
    from omegaconf import open_dict

    from frontpage.runs.save import masked

    settings = config(*TINY, "paths.run_dir=x")
    with open_dict(settings):
        settings.wandb_api_key = "hush"
        settings.data.token = "hush"
    text = json.dumps(masked(settings))
    assert "hush" not in text and '"tokenizer": {"_target_"' in text


@pytest.mark.slow
def test_overfitting_one_batch_drives_the_loss_down(command, run_directories):
    assert command("experiment=quickstart", "debug=overfit", "trainer.accelerator=cpu").status == 0
    record = record_of(run_directories()[0])
    assert record["metrics"]["final"]["train/loss"] < 0.6 * math.log(record["data"]["vocab_size"])


@pytest.mark.slow
def test_a_debug_run_may_score_a_share_of_the_titles_and_says_so(command, run_directories):
    assert (
        command(
            "experiment=quickstart", "debug=fast", "trainer.limit_val_batches=0.5", "data.evaluation_tokens=256"
        ).status
        == 0
    )
    assert 0 < record_of(run_directories()[0])["metrics"]["final"]["val/coverage"] < 1
    outcome = command(*TINY, "trainer.limit_val_batches=0.5")
    assert outcome.status == 2 and "trainer.limit_val_batches" in outcome.stderr
