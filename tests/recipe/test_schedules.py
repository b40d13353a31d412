"""Learning-rate schedules have their closed forms, step by step."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import CONFIGS, TINY, options

from frontpage.command.build import build
from frontpage.command.notices import forget_notices, notices
from frontpage.recipe.schedules import constant, cosine, inverse_sqrt, linear, step, warmup_steps, wsd

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


# The factor when `done` of `length` updates behind a warm-up of `rising` are over, with the defaults of each schedule.
SHAPES = {
    constant: lambda done, length, rising, floor: floor,
    linear: lambda done, length, rising, floor: 1 - done / length * (1 - floor),
    cosine: lambda done, length, rising, floor: floor + (1 - floor) * math.cos(math.pi * done / length / 2) ** 2,
    step: lambda done, length, rising, floor: max(floor, [1, 0.1, 0.01, 0.001][done // 12]),  # 12 is 0.3 of 40
    inverse_sqrt: lambda done, length, rising, floor: max(floor, (max(rising, 1) / (rising + done + 1)) ** 0.5),
    wsd: lambda done, length, rising, floor: floor + (1 - floor) * (1 - (max(0, done - length + 8) / 8) ** 0.5),
}


@pytest.mark.parametrize(("warmup", "rising"), [(0, 0), (1, 1), (8, 8), (8.0, 8), (0.25, 10), (0.26, 10), (40, 40)])
@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("schedule", SHAPES, ids=lambda schedule: schedule.__name__)
def test_a_schedule_rises_in_a_line_and_then_has_its_closed_form(schedule, floor, warmup, rising):
    if rising == TOTAL and schedule in (step, wsd):
        with pytest.raises(ValueError, match="and at most the 0 after the warm-up"):
            rates(schedule, warmup=warmup, floor=floor)
        return
    found = rates(schedule, warmup=warmup, floor=floor)
    expected = [PEAK * (step + 1) / rising for step in range(rising)]
    length = max(TOTAL - rising, 1)
    expected += [PEAK * SHAPES[schedule](done, length, rising, floor) for done in range(TOTAL + 1 - rising)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert notices() == []


def test_the_numbers_of_the_new_schedules_at_the_places_that_matter():
    stairs = rates(step, warmup=10, every=12, gamma=0.5)
    assert [stairs[n] for n in (0, 9, 10, 21, 22, 33, 34, 39, 40)] == pytest.approx(
        [0.08, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2]
    )
    root = rates(inverse_sqrt, warmup=4)
    assert [root[n - 1] for n in (1, 4, 16, 25, 36)] == pytest.approx([0.2, 0.8, 0.4, 0.32, 0.8 / 3])
    falling = rates(wsd, warmup=4, decay=16, floor=0.5)
    assert [falling[n] for n in (0, 3, 4, 24, 28, 40)] == pytest.approx([0.2, 0.8, 0.8, 0.8, 0.6, 0.4])
    line = rates(wsd, warmup=4, decay=0.4, shape="linear")
    assert [line[n] for n in (3, 24, 28, 36, 39, 40)] == pytest.approx([0.8, 0.8, 0.6, 0.2, 0.05, 0.0])


@pytest.mark.parametrize(
    ("schedule", "settings", "message"),
    [
        (wsd, {"decay": 41}, "decay=41: at most 40, which the warm-up leaves of the run's 40"),
        (wsd, {"decay": 35, "warmup": 6}, "decay=35: at most 34"),
        (wsd, {"decay": 0.6, "warmup": 0.5}, "decay=0.6: above 0, and at most the 0.5 after the warm-up"),
        (wsd, {"decay": 0}, "decay=0: above 0"),
        (wsd, {"decay": 2.5}, "decay=2.5: a whole number of updates, or a share of the run below 1"),
        (wsd, {"decay": -1}, "decay=-1: a whole number"),
        (step, {"every": 41}, "every=41: at most 40"),
        (step, {"every": 0}, "every=0: above 0"),
    ],
)
def test_a_part_that_the_run_has_no_room_for_is_refused(schedule, settings, message):
    with pytest.raises(ValueError, match=message):
        rates(schedule, **settings)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 8, 23])
def test_shares_that_add_up_to_the_run_fit_whatever_their_rounding(total):
    for warmup in (0.5, 0.7, 0.1):
        found = rates(wsd, total, warmup=warmup, decay=1 - warmup)
        assert found[-1] == pytest.approx(0) or total == 1  # where the whole run may be the warm-up
        rates(step, total, warmup=warmup, every=1 - warmup)


@pytest.mark.parametrize("total", [1, 2, 9, 40, 301])
@pytest.mark.parametrize("warmup", [0, 1, 0.3])
@pytest.mark.parametrize("floor", [0.0, 0.25])
@pytest.mark.parametrize("name", options("scheduler"))
def test_every_config_rises_then_never_leaves_floor_and_peak_nor_rises_again(name, floor, warmup, total):
    if name in ("step", "wsd") and total == warmup:
        pytest.skip("a warm-up as long as the run leaves no room for what comes after it")
    node = OmegaConf.load(CONFIGS / "scheduler" / f"{name}.yaml")
    schedule = build(OmegaConf.merge(node, {"warmup": warmup, "floor": floor}), "scheduler")
    rising = warmup_steps(warmup, total)
    found = rates(lambda optimizer, total: schedule(optimizer, total_steps=total), total)
    before, after = found[:rising], found[rising:]
    assert before == sorted(set(before)) and before[-1:] in ([], [PEAK])
    assert all(floor * PEAK - 1e-12 <= rate <= PEAK for rate in after)
    assert after == sorted(after, reverse=True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    (factor,) = schedule(optimizer, total_steps=total).lr_lambdas
    backwards = [PEAK * factor(place) for place in reversed(range(total + 1))]
    assert backwards[::-1] == found  # of the update's number alone, so that a resumed run has the same rates


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
    end = (3 / 41) ** 0.5 if schedule is inverse_sqrt else 0.2
    assert found[TOTAL:] == pytest.approx([PEAK * end] * 6)


def test_a_warmup_longer_than_the_run_is_a_notice_and_the_rate_rises_to_the_end():
    found = rates(cosine, warmup=100)
    assert found == pytest.approx([PEAK * (step + 1) / 100 for step in range(TOTAL + 1)])
    (message,) = notices()
    assert "scheduler.warmup=100" in message and "40 updates" in message


@pytest.mark.parametrize("name", options("scheduler"))
def test_under_every_config_a_warmup_longer_than_the_run_is_no_more_than_a_notice(name):
    node = OmegaConf.load(CONFIGS / "scheduler" / f"{name}.yaml")
    schedule = build(OmegaConf.merge(node, {"warmup": 100}), "scheduler")
    found = rates(lambda optimizer, total: schedule(optimizer, total_steps=total))
    assert found == pytest.approx([PEAK * (step + 1) / 100 for step in range(TOTAL + 1)])
    assert len(notices()) == 1


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
    assert found[4:] == pytest.approx([PEAK * shape(place, 36, 4, 0.5) for place in range(37)])


@pytest.mark.slow
def test_a_schedule_too_long_for_the_run_ends_with_status_2(command, run_directories):
    outcome = command(*TINY, "scheduler=wsd", "scheduler.decay=900", "trainer.max_steps=5", "trainer.max_epochs=null")
    assert outcome.status == 2, outcome.stdout
    assert outcome.stderr == "scheduler.decay=900: at most 5, which the warm-up leaves of the run's 5\n"
    assert run_directories() == []
