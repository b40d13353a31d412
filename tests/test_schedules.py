"""Learning-rate schedules have their closed forms, step by step."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from tiny import CONFIGS, options

from frontpage.build import build
from frontpage.notices import forget_notices, notices
from frontpage.schedules import constant, cosine, linear, warmup_steps

PEAK, TOTAL = 0.8, 40


@pytest.fixture(autouse=True)
def no_notices():
    forget_notices()


def rates(schedule, total=TOTAL, steps=None, **settings):
    """The rate of each update, and the one after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = schedule(optimizer, total, **settings)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(total if steps is None else steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


SHAPES = {
    constant: lambda share, floor: floor,
    linear: lambda share, floor: 1 - share * (1 - floor),
    cosine: lambda share, floor: floor + (1 - floor) * math.cos(math.pi * share / 2) ** 2,
}


@pytest.mark.parametrize(("warmup", "rising"), [(0, 0), (1, 1), (8, 8), (8.0, 8), (0.25, 10), (0.26, 10), (40, 40)])
@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("schedule", SHAPES, ids=lambda schedule: schedule.__name__)
def test_a_schedule_rises_in_a_line_and_then_has_its_closed_form(schedule, floor, warmup, rising):
    found = rates(schedule, warmup=warmup, floor=floor)
    expected = [PEAK * (step + 1) / rising for step in range(rising)]
    after = range(TOTAL + 1 - rising)
    expected += [PEAK * SHAPES[schedule](place / max(TOTAL - rising, 1), floor) for place in after]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert notices() == []


def test_cosine_without_warmup_is_that_of_pytorch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL, eta_min=0.1 * PEAK)
    expected = [PEAK]
    for _ in range(TOTAL):
        optimizer.step()
        scheduler.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(cosine, floor=0.1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", SHAPES, ids=lambda schedule: schedule.__name__)
def test_after_the_run_the_rate_stays_at_its_end(schedule):
    found = rates(schedule, steps=TOTAL + 5, warmup=3, floor=0.2)
    assert found[TOTAL:] == pytest.approx([PEAK * 0.2] * 6)


def test_a_warmup_longer_than_the_run_is_a_notice_and_the_rate_rises_to_the_end():
    found = rates(cosine, warmup=100)
    assert found == pytest.approx([PEAK * (step + 1) / 100 for step in range(TOTAL + 1)])
    (message,) = notices()
    assert "scheduler.warmup=100" in message and "40 updates" in message


@pytest.mark.parametrize("warmup", [-1, -0.1, 1.5, 100.5])
def test_a_warmup_that_is_no_number_of_updates_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup={warmup}"):
        warmup_steps(warmup, TOTAL)


def test_every_group_keeps_its_own_peak():
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": peak} for peak in (1.0, 0.25)], lr=PEAK
    )
    scheduler = linear(optimizer, 4)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.75, 0.1875]


def test_a_schedule_goes_on_from_its_state():
    whole = rates(cosine, warmup=5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = cosine(optimizer, TOTAL, warmup=5)
    for _ in range(17):
        optimizer.step()
        scheduler.step()
    states = optimizer.state_dict(), scheduler.state_dict()
    resumed = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    taken_up = cosine(resumed, TOTAL, warmup=5)
    resumed.load_state_dict(states[0])
    taken_up.load_state_dict(states[1])
    assert resumed.param_groups[0]["lr"] == whole[17]
    resumed.step()
    taken_up.step()
    assert resumed.param_groups[0]["lr"] == whole[18]


@pytest.mark.parametrize("name", options("scheduler"))
def test_every_config_names_a_schedule_with_that_closed_form(name):
    with initialize_config_dir(str(CONFIGS)):
        config = compose(
            "train",
            overrides=["paths.run_dir=unused", f"scheduler={name}", "scheduler.warmup=4", "scheduler.floor=0.5"],
        )
    (shape,) = (shape for schedule, shape in SHAPES.items() if schedule.__name__ == name)
    found = rates(lambda optimizer, total: build(config.scheduler, "scheduler")(optimizer, total_steps=total))
    assert found[:4] == pytest.approx([PEAK * step / 4 for step in (1, 2, 3, 4)])
    assert found[4:] == pytest.approx([PEAK * shape(place / 36, 0.5) for place in range(37)])
