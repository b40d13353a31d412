"""Promises of TransitionWatch: which curves are a sudden lasting change, which are not, and when that is known."""

import math
import random

import pytest

from frontpage.evaluation.transitions import CANDIDATE, CONFIRMED, IDLE, REJECTED, Rule, TransitionWatch

EVERY = 100  # updates between validations
LAST = 12_000


def verdicts(curve, rule=None, every=EVERY, last=LAST):
    """[(update, verdict)] of all that is not idle, for a function of the update."""
    watch = TransitionWatch(rule or Rule())
    found = [(step, watch.update(step, curve(step))) for step in range(every, last + 1, every)]
    return [one for one in found if one[1] != IDLE]


def step_down(at, before=4.0, after=2.0):
    return lambda step: before if step < at else after


def noisy(curve, deviation, seed=0):
    draws = random.Random(seed)
    return lambda step: curve(step) * (1 + draws.gauss(0, deviation))


@pytest.mark.parametrize(
    "curve",
    [
        lambda step: 4.0,
        lambda step: 4.0 * (1 - 0.1 * step / 1000 / 2) if step < 10_000 else 2.0,  # 5 % in 1,000 updates
        lambda step: 4.0 * math.exp(-step / 4000),
        lambda step: 4.0 * 0.9 ** (step / 1000),  # a steady decline of 10 % in each 1,000 updates
        lambda step: 1 + 3 / (1 + step / 500),  # a usual loss
        lambda step: 4.0 + step / 1000,  # over-fitting
        step_down(5000, 4.0, 3.7),  # less than the threshold
        step_down(5000, 4.0, 8.0),  # for the worse
        step_down(5000, -4.0, -3.0),  # for the worse, below zero
    ],
    ids="flat line exponential ten_percent usual rising small worse negative".split(),
)
def test_nothing_is_found(curve):
    assert verdicts(curve) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.1])
def test_noise_is_never_confirmed(deviation, seed):
    found = verdicts(noisy(lambda step: 4.0, deviation, seed))
    assert CONFIRMED not in [verdict for _, verdict in found]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.02, 0.03])
def test_a_sudden_lasting_drop_is_found_once_at_its_update(deviation, seed):
    found = verdicts(noisy(step_down(5000), deviation, seed))
    assert [verdict for _, verdict in found] == [CANDIDATE, CONFIRMED]
    # The median of 5 validations (4,800 to 5,200) is the new value from the third of them on.
    assert found[0][0] in range(5200, 5200 + (500 if deviation else 1)) and found[1][0] == found[0][0] + 1000


def test_a_drop_that_reverts_is_rejected():
    assert verdicts(lambda step: 2.0 if 5000 <= step < 5700 else 4.0) == [(5200, CANDIDATE), (6200, REJECTED)]


def test_a_candidate_is_judged_by_what_came_after_it():
    """With windows longer than the wait the recent median would still hold the candidate's own values."""
    rule, brief = Rule(patience=3000, window=3000), lambda step: 1.2 if 20_000 < step <= 22_000 else 2.0
    assert [verdict for _, verdict in verdicts(brief, rule, every=1000, last=60_000)] == [CANDIDATE, REJECTED]
    lasting = verdicts(lambda step: 1.2 if step > 20_000 else 2.0, rule, every=1000, last=60_000)
    assert lasting == [(22_000, CANDIDATE), (25_000, CONFIRMED)]  # three validations later


@pytest.mark.parametrize("every", [50, 100, 160])
@pytest.mark.parametrize("deviation", [0.01, 0.02, 0.03])
@pytest.mark.parametrize("decline", [5e-5, 1e-4, 2e-4])
def test_a_smooth_decline_with_noise_is_hardly_ever_confirmed(decline, deviation, every):
    found = [
        verdicts(noisy(lambda step: 2 * math.exp(-decline * step), deviation, seed), every=every, last=10_000)
        for seed in range(10)
    ]
    assert sum(CONFIRMED in [verdict for _, verdict in one] for one in found) <= 1


def test_what_is_no_number_is_passed_over():
    bad = {5000: math.nan, 5100: -math.inf, 5200: math.inf}
    assert verdicts(lambda step: bad.get(step, 4.0)) == []
    assert verdicts(lambda step: bad.get(step, 4.0 if step < 4000 else 2.0))[1:] == [(5500, CONFIRMED)]


def test_two_transitions_are_found():
    found = verdicts(lambda step: 4.0 if step < 4000 else 2.0 if step < 8000 else 1.0)
    assert found == [(4200, CANDIDATE), (5200, CONFIRMED), (8200, CANDIDATE), (9200, CONFIRMED)]


def test_an_accuracy_is_better_when_it_is_higher():
    def accuracy(step):
        return 0.3 if step < 5000 else 0.9

    assert verdicts(accuracy, Rule(higher=True)) == [(5200, CANDIDATE), (6200, CONFIRMED)]
    assert verdicts(lambda step: 1 - accuracy(step), Rule(higher=True)) == []
    assert verdicts(accuracy) == []


def test_what_the_windows_show_is_the_formula():
    rule = Rule(patience=400, window=300, min_points=2, plateau_tol=10.0, threshold=0.0, z_min=0.0, confirm=100)
    watch, values = TransitionWatch(rule), [10.0, 9.0, 12.0, 11.0, 4.0, 5.0, 6.0]
    for place, value in enumerate(values):
        watch.update(100 * place, value)
    look = watch.look  # baseline (-100, 300], recent (300, 600]
    assert (look.baseline, look.recent) == (10.5, 5.0)
    assert look.drop == pytest.approx(5.5 / 10.5)
    deviation = 1.4826 * 1.0  # of 0.5 1.5 1.5 0.5
    assert look.z == pytest.approx(5.5 / deviation)
    slope = (-1.5 * 10 - 0.5 * 9 + 0.5 * 12 + 1.5 * 11) / 5 / 100  # the mean is 10.5, too
    assert look.slope == pytest.approx(slope * 400 / 10.5)
    rest = sum((value - 10.5 - slope * (100 * place - 150)) ** 2 for place, value in enumerate(values[:4]))
    assert look.slope_error == pytest.approx((rest / 2 / 50_000) ** 0.5 * 400 / 10.5)
    assert look.noise == pytest.approx((rest / 2) ** 0.5 / 10.5)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, True),
        ({"threshold": 0.51}, False),
        ({"threshold": 0.49}, True),
        ({"confirm": 2000}, True),
        ({"min_points": 6}, False),  # more than the recent window holds
    ],
)
def test_each_limit_decides(changed, found):
    assert bool(verdicts(step_down(5000), Rule(**changed))) == found


def test_a_plateau_must_be_as_flat_as_asked_and_a_change_above_the_noise():
    def slope(step):  # 1 % down in 1,000 updates, then a drop
        return (4.0 - 0.04 * step / 1000) * (0.5 if step >= 5000 else 1)

    assert verdicts(slope)[0] == (5200, CANDIDATE)
    assert verdicts(slope, Rule(plateau_tol=0.005)) == []

    def zigzag(step):  # a median deviation of 0.8, 1.2 by the factor of the normal distribution
        return 4.0 + (0.8 if step // EVERY % 2 else -0.8) - (2.0 if step >= 5000 else 0)

    assert verdicts(zigzag, Rule(z_min=1.0, plateau_tol=0.2))
    assert verdicts(zigzag, Rule(z_min=3.0, plateau_tol=0.2)) == []


def test_before_both_windows_are_whole_nothing_is_found():
    assert verdicts(step_down(1000), last=1500) == []
    assert [verdict for _, verdict in verdicts(step_down(1400))] == [CANDIDATE, CONFIRMED]


def test_nothing_is_a_candidate_before_it_is_ready():
    watch = TransitionWatch(Rule())
    found = [watch.update(step, step_down(5000)(step), ready=step >= 5400) for step in range(100, 8000, 100)]
    assert found.index(CANDIDATE) == 53  # update 5,400


def test_it_goes_on_from_its_state():
    def curve(step):
        return 4.0 if step < 4000 else 2.0 if step < 8000 else 1.0

    for stop in range(100, LAST, 700):
        first = TransitionWatch(Rule())
        early = [(step, first.update(step, curve(step))) for step in range(EVERY, stop + 1, EVERY)]
        second = TransitionWatch(Rule())
        second.load_state_dict(first.state_dict())
        rest = range(early[-1][0] + EVERY if early else EVERY, LAST + 1, EVERY)
        found = early + [(step, second.update(step, curve(step))) for step in rest]
        assert [one for one in found if one[1] != IDLE] == verdicts(curve)


@pytest.mark.slow
def test_only_the_windows_are_kept():
    watch = TransitionWatch(Rule())
    for step in range(10, 50_000, 10):
        watch.update(step, 1.0)
    assert len(watch.points) <= 1500 // 10 + 1
