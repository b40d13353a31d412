"""Promises of what is due at which updates: counted as a loop over all of them would count."""

from itertools import product

import pytest

from frontpage.training.due import Due

PERIODS = [{1}, {3}, {4, 6}, {2, 3, 5}, {50}, set()]


@pytest.mark.parametrize(("periods", "last"), [*product(PERIODS, (0, 1, 7, 12, 30))], ids=str)
def test_they_are_those_of_a_loop_over_all_updates(periods, last):
    for single in ({}, {1}, {5, 40}):
        due = Due(frozenset(periods), last, frozenset(single))
        looped = [
            update
            for update in range(1, last + 1)
            if update == last or update in single or any(update % period == 0 for period in periods)
        ]
        for after in range(last + 2):
            assert due.count(after) == sum(update > after for update in looped), after
        for many in (1, 2, 3, 100):
            assert due.newest(many) == looped[::-1][:many]
