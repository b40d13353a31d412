"""Promises of callbacks=lr_plateau: when rates fall, by how much, under any schedule, and that a resume goes on."""

import csv
from types import SimpleNamespace

import pytest
import torch
from run_outputs import checkpoint_of, events_of, same, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.command.errors import UserError
from frontpage.training.callbacks.lr_plateau import LrPlateau

# Nothing is ever better by 10 but the first validation.
RUN = (
    *TINY, "callbacks=lr_plateau", "callbacks.lr_plateau.min_delta=10", "callbacks.lr_plateau.patience=2",
    "callbacks.lr_plateau.most=2", "callbacks.lr_plateau.momentum=0.25", "val_interval=2", "trainer.max_steps=12",
    "log_interval=1", "scheduler=cosine", "scheduler.warmup=0", "model.original_metric=never",
)  # fmt: skip


def dropped(values, **keys):
    """After which of the values, counted from 1, the rate falls."""
    callback, found = LrPlateau("val/loss", **({"smoothing": 0.0, "patience": 2, "most": 9} | keys)), []
    for number, value in enumerate(values, start=1):
        if callback._is_time(value) and len(found) < callback.most:
            found.append(number)
            callback.waited, callback.resting = 0, callback.cooldown
    return found


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        ([4, 3, 3, 3, 2, 2, 2], {}, [4, 7]),
        ([4, 3, 3, 3, 3, 3, 3], {"most": 1}, [4]),
        ([4, 3, 3, 3, 3, 3, 3, 3], {"cooldown": 1}, [4, 7]),
        ([4, 3.9, 3.8, 3.7], {"min_delta": 0.5}, [3]),
        ([1, 2, 2, 2], {"mode": "max"}, [4]),
        ([1, 2, 2, 2], {"mode": "min"}, [3]),
        # The mean with a half: 4, 3, 3.25, 2.125, 2.3125, 2.40625.
        ([4, 2, 3.5, 1, 2.5, 2.5], {"smoothing": 0.5}, [6]),
        ([4, 2, 3.5, 1, 2.5, 2.5], {"smoothing": 0.0}, [6]),
        ([4, 2, 3, 2.5], {"smoothing": 0.5, "patience": 1}, [3]),
    ],
)
def test_rates_fall_behind_so_many_validations_without_a_new_best_of_the_smoothed_value(values, keys, expected):
    assert dropped(values, **keys) == expected


def parameters(**settings):
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, **settings)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


def module_of(optimizer, schedule):
    return SimpleNamespace(
        metrics={"val/loss": 3.0}, lr_schedulers=lambda: schedule, optimizers=lambda use_pl_optimizer: optimizer
    )


def trainer():
    return SimpleNamespace(state=SimpleNamespace(fn="fit"), callbacks=[], global_step=5, is_global_zero=False)


def test_a_schedule_goes_on_by_the_factor_and_first_moments_alone_are_scaled():
    optimizer = parameters()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    before = {name: value.clone() for name, value in next(iter(optimizer.state.values())).items()}
    callback = LrPlateau("val/loss", factor=0.25, patience=1, smoothing=0.0, momentum=0.5)
    for _ in range(2):
        callback.on_validation_end(trainer(), module_of(optimizer, schedule))
    assert callback.dropped == [5] and optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.25)
    after = next(iter(optimizer.state.values()))
    assert torch.equal(after["exp_avg"], before["exp_avg"] / 2) and torch.equal(
        after["exp_avg_sq"], before["exp_avg_sq"]
    )
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.25 / 2)


def test_what_it_cannot_follow_or_lower_is_refused():
    optimizer = parameters()
    other = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    callback = LrPlateau("val/loss", patience=1, smoothing=0.0)
    callback.on_validation_end(trainer(), module_of(optimizer, other))
    with pytest.raises(UserError, match="ExponentialLR is no course"):
        callback.on_validation_end(trainer(), module_of(optimizer, other))
    with pytest.raises(UserError, match="callbacks.lr_plateau.monitor=val/lost"):
        LrPlateau("val/lost").on_validation_end(trainer(), module_of(optimizer, other))


def rates_of(run):
    with (run / "metrics.csv").open() as file:
        return [float(row["train/learning_rate"]) for row in csv.DictReader(file) if row["train/learning_rate"]]


@pytest.mark.slow
def test_a_run_has_the_rates_that_were_said_and_one_that_breaks_off_ends_with_its_bits(command, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    outcome = command(*RUN, f"hydra.run.dir={whole}")
    assert outcome.status == 0 and "at update 6 all rates times 0.5" in outcome.stdout, outcome.stderr
    assert [event["step"] for event in events_of(whole) if event["event"] == "lr_plateau"] == [6, 10]
    plain = [word for word in RUN if "lr_plateau" not in word]
    assert command(*plain, f"hydra.run.dir={tmp_path}/plain").status == 0
    ratios = [one / other for one, other in zip(rates_of(whole), rates_of(tmp_path / "plain"), strict=True) if other]
    assert ratios == pytest.approx([1.0] * 6 + [0.5] * 4 + [0.25] * (len(ratios) - 10))
    for stop in (6, 7):
        with monkeypatch.context() as patch:
            stop_at(patch, stop, False, Interrupted("stopped"))
            assert command(*RUN, f"hydra.run.dir={broken}{stop}").status != 0
        assert command(*RUN, f"hydra.run.dir={broken}{stop}", "ckpt_path=last").status == 0
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            assert same(checkpoint_of(whole)[part], checkpoint_of(tmp_path / f"broken{stop}")[part]), (stop, part)
