"""Promises of what several seeds say together: Student's interval, and differences of the same seed."""

import math

import numpy as np
import pytest

from frontpage.analysis.notebooks.seed_wise import difference, interval


def test_an_interval_is_students_of_the_mean():
    """By hand: the standard deviation of 1, 2, 3 is 1, and a table of t gives 4.303 at two degrees of freedom."""
    found = interval([3.0, 1.0, 2.0])
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.reach == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert interval([1.0, 2.0, 3.0, 4.0], level=0.9).reach == pytest.approx(2.35336 * math.sqrt(5 / 3) / 2, rel=1e-5)


@pytest.mark.slow
def test_three_seeds_hold_the_true_mean_as_often_as_is_said():
    draws = np.random.default_rng(0).normal(1.0, 0.3, (4000, 3))
    held = [abs(found.mean - 1.0) <= found.reach for found in map(interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_a_difference_is_taken_seed_by_seed_over_those_that_both_have():
    one, other = {1: 5.0, 2: 1.0, 3: 9.0, 4: 0.0}, {3: 8.5, 2: 0.6, 1: 4.4, 5: 7.0}
    found = difference(one, other)
    assert found == pytest.approx(interval([0.6, 0.4, 0.5])) and found.is_clear  # though the seeds lie far apart
    assert difference(other, one).mean == pytest.approx(-found.mean)


def test_one_seed_decides_nothing():
    found = interval([7.0])
    assert found.mean == 7.0 and math.isnan(found.reach) and not found.is_clear


@pytest.mark.parametrize(("values", "clear"), [((1.0, 1.1, 0.9), True), ((-1, -1.1, -0.9), True), ((1, -1, 1), False)])
def test_zero_outside_of_the_interval_is_clear(values, clear):
    assert interval(values).is_clear is clear
