"""Promises of callbacks=grokking: training is not disturbed, every verdict is written and kept, a resume goes on."""

from types import SimpleNamespace

import pytest
import torch
from run_outputs import checkpoint_of, events_of, losses_of, same, stop_at

from frontpage.command.endings import Interrupted
from frontpage.training.callbacks.grokking_detector import GrokkingDetector

# Sums modulo 7 of which any improvement counts as a transition, so that a short run has some.
RUN = (
    "data=modular_arithmetic", "data.modulus=7", "data.train_share=0.5", "data.batch_size=8",
    "tokenizer.vocab_size=300",
    "model.d_model=16", "model.n_layer=1", "model.n_head=2", "model.dropout=0.1", "model.original_metric=never",
    "model.packed_metric=never", "model.accuracy=true", "optimizer.lr=0.02", "trainer.max_steps=24", "val_interval=1",
    "log_interval=1", "trainer.max_epochs=null", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "callbacks.sample_titles=null", "objective=val/loss",
)  # fmt: skip
WATCH = (
    "callbacks=grokking", "callbacks.grokking.patience=4", "callbacks.grokking.window=4",
    "callbacks.grokking.confirm=4",
    "callbacks.grokking.threshold=1e-6", "callbacks.grokking.plateau_tol=100", "callbacks.grokking.z_min=0",
)  # fmt: skip
EVENTS = ("grokking_candidate", "grokking_confirmed", "grokking_rejected", "grokking_passed", "grokking_lag")


@pytest.fixture
def trained(command, tmp_path):
    """trained("name", *overrides) trains and gives the run's directory."""

    def run(name, *overrides, status=0):
        words = [word for word in RUN if not (word.startswith("callbacks.sample") and "callbacks=none" in overrides)]
        outcome = command(*words, *overrides, f"hydra.run.dir={tmp_path}/{name}")
        assert outcome.status == status, outcome.stdout[-2000:] + outcome.stderr
        return tmp_path / name if status == 0 else outcome

    return run


def course(run):
    """The rows of metrics.csv that hold a loss; what the windows show has rows of its own."""
    return [row for row in losses_of(run) if any(row[1:])]


def told(run):
    """Its events of this callback, without their times."""
    found = [event for event in events_of(run) if event["event"] in EVENTS]
    return [{name: value for name, value in event.items() if name != "timestamp"} for event in found]


def snapshots(run):
    return sorted(path.stem for path in (run / "checkpoints").glob("grokking-*.ckpt"))


@pytest.mark.slow
def test_training_is_the_same_to_the_bit_with_it_and_without(trained):
    with_it, without = trained("with", *WATCH), trained("without")
    assert course(with_it) == course(without)
    assert same(checkpoint_of(with_it)["state_dict"], checkpoint_of(without)["state_dict"])
    assert told(with_it) and not told(without)


@pytest.mark.slow
def test_every_verdict_is_told_and_each_snapshot_stays(trained):
    run = trained("run", *WATCH)
    found = told(run)
    kept = [f"grokking-{one['event'].removeprefix('grokking_')}-{one['step']:06d}" for one in found]
    assert snapshots(run) == sorted(name for name in kept if "rejected" not in name) and len(kept) >= 2
    for name in snapshots(run):
        assert checkpoint_of(run, name)["global_step"] == int(name[-6:])
    verdicts = [one for one in found if one["event"] != "grokking_candidate"]
    candidates = [one["step"] for one in found if one["event"] == "grokking_candidate"]
    assert [one["candidate"] for one in verdicts] == candidates[: len(verdicts)]
    assert all(one["step"] == one["candidate"] + 4 for one in verdicts)
    first = found[0]
    losses = {one["step"]: one["val/loss"] for one in events_of(run) if one["event"] == "validation_step"}
    before = sorted(losses[step] for step in range(first["step"] - 7, first["step"] - 3))
    assert first["baseline"] == pytest.approx((before[1] + before[2]) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("stop", "validating"),
    [(9, True), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((5, False), (11, False)))],
)
def test_a_resumed_run_tells_and_keeps_the_same(trained, tmp_path, monkeypatch, stop, validating):
    whole = trained("whole", *WATCH)
    with monkeypatch.context() as patch:
        stop_at(patch, stop, validating, Interrupted("stopped"))
        trained("broken", *WATCH, status=130)
    broken = trained("broken", *WATCH, "ckpt_path=last")
    assert told(whole) == told(broken) and snapshots(whole) == snapshots(broken)
    assert losses_of(whole) == losses_of(broken)
    for part in ("state_dict", "optimizer_states"):
        assert same(checkpoint_of(whole)[part], checkpoint_of(broken)[part])
    states = [checkpoint_of(one)["callbacks"]["GrokkingDetector"] for one in (whole, broken)]
    assert same(*states)


@pytest.mark.slow
def test_a_crash_before_a_snapshot_is_made_up_for(trained, monkeypatch):
    whole = trained("whole", *WATCH)
    due = told(whole)[0]["step"]
    with monkeypatch.context() as patch:
        from frontpage.training.callbacks import grokking_detector

        def crash(trainer, path, **others):
            raise RuntimeError("killed")

        patch.setattr(grokking_detector, "save", crash)
        with pytest.raises(RuntimeError, match="killed"):
            trained("broken", *WATCH, "save_interval=1")
    broken = trained("broken", *WATCH, "save_interval=1", "ckpt_path=last")
    assert snapshots(broken) == snapshots(whole) and told(broken) == told(whole)
    assert checkpoint_of(broken, f"grokking-candidate-{due:06d}")["global_step"] == due


@pytest.mark.slow
def test_the_lag_is_that_of_the_two_levels(trained):
    levels = "callbacks.grokking.passes=[[train/accuracy,0.5],[val/accuracy,0.2]]"
    run = trained("run", *WATCH, levels, "trainer.max_steps=120", "optimizer.weight_decay=1")
    found = {one["event"]: one for one in told(run)}
    passed = [one for one in told(run) if one["event"] == "grokking_passed"]
    measured = [event for event in events_of(run) if event["event"] == "validation_step"]
    first = {
        name: next(one["step"] for one in measured if one[name] >= level)
        for name, level in {"train/accuracy": 0.5, "val/accuracy": 0.2}.items()
    }
    assert {one["metric"]: one["step"] for one in passed} == first
    assert found["grokking_lag"]["updates"] == first["val/accuracy"] - first["train/accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["val_interval=2"], "callbacks.grokking.window=4"),
        (["callbacks.grokking.window=40", "callbacks.grokking.patience=2"], "callbacks.grokking.patience=2"),
        (["callbacks.grokking.monitor=val/lost"], "callbacks.grokking.monitor=val/lost"),
        (["callbacks.grokking.mode=max"], "callbacks.grokking.mode=max"),
        (["callbacks.grokking.passes=[[val/lost,1]]"], "callbacks.grokking.passes=val/lost"),
        (["callbacks.grokking.passes=[val/loss]"], "callbacks.grokking.passes=val/loss"),
        (["callbacks.grokking.threshold=-1"], "callbacks.grokking.threshold=-1"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(trained, tmp_path, overrides, said):
    outcome = trained("run", *WATCH, *overrides, status=2)
    assert said in outcome.stderr and len(outcome.stderr.splitlines()) <= 2
    assert not (tmp_path / "run" / "events.jsonl").exists()


@pytest.mark.slow
def test_memorisation_must_come_first_where_it_is_asked_for(trained):
    assert told(trained("never", *WATCH, "callbacks.grokking.memorized_loss=0")) == []
    assert told(trained("gap", *WATCH, "callbacks.grokking.memorized_gap=100")) == []
    assert told(trained("always", *WATCH, "callbacks.grokking.memorized_loss=100")) == told(trained("plain", *WATCH))


def test_what_a_checkpoint_keeps_is_of_all_processes():
    """Two of them: the first's mean is 4, the other's 6."""
    detector = GrokkingDetector("val/loss", ".")
    detector._trained = torch.tensor(4.0)
    strategy = SimpleNamespace(reduce=lambda own, reduce_op: (own + 6) / 2)
    for trainer, mean in ((SimpleNamespace(world_size=2, strategy=strategy), 5), (SimpleNamespace(world_size=1), 5)):
        checkpoint = {"callbacks": {detector.state_key: detector.state_dict()}}  # before the hook, as Lightning does
        detector.on_save_checkpoint(trainer, SimpleNamespace(device="cpu"), checkpoint)
        assert float(checkpoint["callbacks"][detector.state_key]["trained"]) == float(detector._trained) == mean


def test_the_training_loss_is_of_what_the_validation_loss_is_of():
    """Of several tasks the language task's own, unscaled; with techniques the nats of the next token."""

    def averaged(accumulating=False, **module):
        detector = GrokkingDetector("val/loss", ".")
        trainer = SimpleNamespace(fit_loop=SimpleNamespace(_should_accumulate=lambda: accumulating))
        detector.on_train_batch_end(trainer, SimpleNamespace(loss=torch.tensor(30.0), **module), None, None, 0)
        return None if detector._trained is None else float(detector._trained)

    tasks = {"lm": None, "coherence": None}
    assert averaged() == 30 and averaged(accumulating=True) is None
    assert averaged(tasks=tasks, newest_task=("lm", torch.tensor(4.0)), accumulating=True) == 4
    assert averaged(tasks=tasks, newest_task=("coherence", torch.tensor(0.7))) is None
    assert averaged(techniques=["r_drop"], next_token_loss=torch.tensor(5.0)) == 5
    assert averaged(techniques=["r_drop"], next_token_loss=None, tasks=tasks) is None
    assert averaged(tasks={"coherence": None, "paraphrase": None}) == 30  # none of them is of the next token
