"""Promises of notebook 05's parts: when a curve leaves its plateau, and which runs there are."""

import pytest

from frontpage.analysis.notebooks.announcements import announced_at, curves_of
from frontpage.analysis.notebooks.grokking_runs import CONTROL, SEEDS, runs_of

UPDATES = range(100, 5001, 100)


def curve(value):
    return {update: value(update) for update in UPDATES}


def test_a_curve_is_off_its_plateau_from_the_first_of_the_values_that_stay_off():
    jump = curve(lambda update: 1.0 if update < 3000 else 2.0)
    assert announced_at(jump, (1000, 2000)) == 3000
    down = curve(lambda update: 1.0 if update < 3000 else 0.2)
    assert announced_at(down, (1000, 2000)) == 3000
    returns = jump | {2500: 2.0}
    assert announced_at(returns, (1000, 2000)) == 3000  # that one did not last


def test_it_must_go_a_share_of_the_way_and_beyond_the_noise():
    ramp = curve(
        lambda update: max(update - 2000, 0) / 1000
    )  # ends at 3, the last three of 30 values at 2.9 in the mean
    assert announced_at(ramp, (1000, 2000), share=0.1) == 2300
    assert announced_at(ramp, (1000, 2000), share=0.5) == 3500
    noisy = curve(lambda update: (0.4 if update // 100 % 2 else -0.4) + max(update - 2000, 0) / 1000)
    deviation = 0.4 * (10 / 9) ** 0.5
    found = announced_at(noisy, (1000, 2000), share=0.0, deviations=2.0)
    assert found == next(u for u in UPDATES if u > 2000 and all(noisy[v] > 2 * deviation for v in UPDATES if v >= u))


def test_a_curve_that_stays_announces_nothing():
    assert announced_at(curve(lambda update: 1.0 + (update // 100 % 3) / 10), (1000, 2000)) is None
    assert announced_at(curve(lambda update: 1.0), (1000, 5000)) is None
    with pytest.raises(ValueError, match="2 values"):
        announced_at(curve(float), (1000, 1200))


def test_curves_are_read_by_monitor_and_row():
    lines = [
        {"monitor": "procrustes", "step": 5, "rows": [{"mode": "drift", "layer": 0, "disparity": 9.0}]},
        {"monitor": "procrustes", "step": 10, "rows": [
            {"mode": "drift", "layer": 0, "disparity": 1.0}, {"mode": "drift", "layer": 1, "disparity": 2.0},
        ]},
        {"monitor": "concepts", "step": 10, "rows": [{"layer": 1, "nmi": None, "silhouette": 0.5}]},
    ]  # fmt: skip
    assert curves_of(lines, "procrustes", ["disparity"], mode="drift", layer=1) == {"disparity": {10: 2.0}}
    assert curves_of(lines, "concepts", ["nmi", "silhouette"], layer=1) == {"nmi": {}, "silhouette": {10: 0.5}}


@pytest.mark.slow
@pytest.mark.parametrize("size", SEEDS)
def test_the_control_differs_from_its_run_in_the_decay_alone(size, config):
    runs = runs_of(size)
    assert len(runs) == len(SEEDS[size]) + 1
    first = SEEDS[size][0]
    assert {*runs[f"control-{first}"]} - {*runs[f"decay-{first}"]} == {CONTROL}
    assert all(
        config(*overrides).optimizer.weight_decay == (0 if "control" in name else 1.5)
        for name, overrides in runs.items()
    )
