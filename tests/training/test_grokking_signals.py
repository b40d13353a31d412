"""Promises of callbacks=grokking_signals: sudden changes are counted together, and a resume goes on."""

from types import SimpleNamespace

import pytest

from frontpage.command.errors import BadValue, UserError
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.training.callbacks.grokking_signals import GrokkingSignals
from frontpage.training.callbacks.monitor import Monitor

QUICK = {"patience": 4, "window": 2, "min_points": 2, "confirm": 4}
DECLARED = [
    Metric("val/loss"),
    Metric("val/perplexity"),
    Metric("val/a/accuracy", HIGHER),
    Metric("val/b/accuracy", HIGHER, needs="a setting"),
    Metric("val/c/mrr", HIGHER),
]
TWO = {"val/loss": "min", "val/c/mrr": "max"}


class Told:
    """Stands for a run: what it logs, and the events of it."""

    def __init__(self, signals, measured=None, **keys):
        self.logged, self.step = [], 0
        self.callback = GrokkingSignals(signals, **(QUICK | keys))
        self.monitor = Monitor.__new__(Monitor)
        self.monitor.measured_at, self.monitor.newest, self.monitor.name = 0, {}, "procrustes"
        log = SimpleNamespace(log_metrics=lambda values: self.logged.append(values["grokking/signals"]))
        schedule = SimpleNamespace(interval=1, evals_per_epoch=1)
        self.trainer = SimpleNamespace(
            state=SimpleNamespace(fn="fit"),
            callbacks=[self.monitor],
            _logger_connector=log,
            is_global_zero=True,
            fit_loop=SimpleNamespace(epoch_loop=schedule),
            global_step=0,
        )
        known = [one.name for one in DECLARED if one.needs is None]
        self.module = SimpleNamespace(
            metrics={}, declared=DECLARED, headline=DECLARED[0], monitored_names=lambda: known
        )
        self.callback.check(self.trainer, None, self.module, 100)

    def validate(self, **metrics):
        self.trainer.global_step += 1
        self.module.metrics = {name.replace("_", "/"): value for name, value in metrics.items()}
        self.callback.on_validation_end(self.trainer, self.module)
        return self.logged[-1]

    def course(self, losses, others):
        return [self.validate(val_loss=loss, val_c_mrr=other) for loss, other in zip(losses, others, strict=True)]


def drop(at, length=16, high=4.0, low=2.0):
    return [high if step < at else low for step in range(1, length + 1)]


def rise(at, length=16):
    return [0.1 if step < at else 0.6 for step in range(1, length + 1)]


def test_changes_within_reach_of_each_other_are_counted_and_told_once(capsys):
    run = Told(TWO, within=5)
    counts = run.course(drop(7), rise(10))
    assert counts[:6] == [0.0] * 6 and counts[6:9] == [1.0] * 3 and counts[9:11] == [2.0] * 2
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("grokking:")]
    (line,) = said
    assert "2 of 2 signals together: val/loss at update 7, val/c/mrr at update 10" in line
    assert counts[-1] == 0.0, "they were too long ago"


def test_changes_that_lie_further_apart_are_not_together(capsys):
    run = Told(TWO, within=3)
    assert max(run.course(drop(7), rise(12))) == 1.0 and "signals together" not in capsys.readouterr().out


def test_one_that_is_rejected_counts_no_longer():
    run = Told({"val/loss": "min", "val/a/accuracy": "max"}, within=50)
    losses = [4.0] * 6 + [2.0] * 3 + [4.0] * 9
    counts = [run.validate(val_loss=loss) for loss in losses]
    assert counts[7] == 1.0 and counts[-1] == 0.0 and run.callback.changed == {}


def test_a_direction_is_that_of_the_metric():
    run = Told({"val/loss": "max", "val/c/mrr": "min"}, within=50)
    assert set(run.course(drop(7), rise(7))) == {0.0}


def test_what_a_monitor_measures_counts_at_the_update_of_its_measurement():
    name = "monitors/procrustes/languages/gain"
    run = Told({"val/loss": "min", name: "max"}, within=50, needed=1)
    for step in range(1, 17):
        run.monitor.measured_at, run.monitor.newest = step - step % 2, {name: 0.1 if step < 12 else 0.7}
        run.validate(val_loss=4.0)
    assert run.callback._taken[name] == 16 and not run.callback.changed, "one measurement in two updates is too few"
    run = Told({"val/loss": "min", name: "max"}, within=50, needed=1)
    for step in range(1, 17):
        run.monitor.measured_at, run.monitor.newest = step, {name: 0.1 if step < 12 else 0.7}
        run.validate(val_loss=4.0)
    assert run.callback.changed == {name: 12}


def test_by_default_the_headline_and_the_accuracies_that_every_validation_has():
    run = Told(None)
    assert [*run.callback.rules] == ["val/loss", "val/a/accuracy"]
    assert not run.callback.rules["val/loss"].watch.rule.higher
    assert run.callback.rules["val/a/accuracy"].watch.rule.higher and run.callback._needed == 2


def test_a_run_that_goes_on_tells_what_an_unbroken_one_does(capsys):
    whole, losses, others = Told(TWO), drop(7), rise(9)
    expected = whole.course(losses, others)
    told = capsys.readouterr().out
    for stop in (5, 8, 10, 12):
        first = Told(TWO)
        found = first.course(losses[:stop], others[:stop])
        second = Told(TWO)
        second.callback.load_state_dict(first.callback.state_dict())
        second.trainer.global_step = stop
        assert [*found, *second.course(losses[stop:], others[stop:])] == expected
        assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    ("signals", "keys", "words"),
    [
        ({"val/loss": "min", "val/lost": "min"}, {}, "val/lost"),
        ({"val/loss": "lower", "val/c/mrr": "max"}, {}, "for each metric min or max"),
        ({"val/loss": "min", "val/perplexity": "min"}, {}, "one number in other units"),
        ({"val/loss": "min"}, {}, "1 signals"),
        (TWO, {"needed": 3}, "3 of 2 signals"),
        (TWO, {"window": 1}, "window"),
        ({"val/loss": "min", "monitors/concepts/nmi": "max"}, {}, "monitors/concepts/nmi"),
    ],
)
def test_what_cannot_be_watched_is_refused(signals, keys, words):
    with pytest.raises((BadValue, UserError), match=words):
        Told(signals, **keys)
