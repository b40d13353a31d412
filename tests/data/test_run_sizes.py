"""Promises of the sizes of a run whose epochs differ: they are those of a loop over all of its updates."""

import math

import pytest

from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.run_sizes import Accumulation, RunSizes, accumulation_of, by_epoch

EPOCHS = 9
BASE = EpochSizes(98, 5, 2)
TOKENS = [98, 103, 90, 41, 98, 111, 7, 98, 100]
RUNS = {
    "alike": (RunSizes.same(EpochSizes(98, 5, 2, 3)), [(98, 3)] * EPOCHS),
    "accumulation": (by_epoch(BASE, [1, 1, 4, 3]), [(98, n) for n in [1, 1, 4, *[3] * 6]]),
    "tokens": (by_epoch(BASE, [3], TOKENS.__getitem__), [(tokens, 3) for tokens in TOKENS]),
    "both": (by_epoch(BASE, [1, 2], TOKENS.__getitem__), [(t, 1 + (n > 0)) for n, t in enumerate(TOKENS)]),
}


@pytest.fixture(params=RUNS)
def run(request):
    """A run's sizes, and those of each of its epochs, made one by one."""
    sizes, epochs = RUNS[request.param]
    return sizes, [EpochSizes(tokens, 5, 2, accumulate) for tokens, accumulate in epochs]


def looped(epochs):
    """(epoch, place, targets) of every update."""
    for epoch, sizes in enumerate(epochs):
        for place in range(sizes.updates):
            yield epoch, place, sizes.targets_of_update(place * sizes.accumulate)


def test_every_update_is_where_a_loop_finds_it(run):
    sizes, epochs = run
    updates = list(looped(epochs))
    assert [sizes.of(epoch) for epoch in range(EPOCHS)] == epochs
    assert [sizes.place(update) for update in range(len(updates))] == [(epoch, place) for epoch, place, _ in updates]
    for many in range(1, len(updates) + 1):
        assert sizes.targets(many) == sum(targets for _, _, targets in updates[:many])
        assert sum(made for _, made in sizes.of_run(many)) == many
        began = {epoch for epoch, _, _ in updates[:many]}
        assert sizes.largest(many).update_targets == max(epochs[epoch].update_targets for epoch in began)


def test_epochs_are_counted_up_to_a_limit(run):
    sizes, epochs = run
    for count in range(EPOCHS + 1):
        updates = sum(one.updates for one in epochs[:count])
        assert sizes.updates(count) == updates and sizes.batches(count) == sum(one.batches for one in epochs[:count])
        for most in (1, max(updates - 1, 1), updates, updates + 1):
            assert sizes.updates(count, most) == min(updates, most)
    assert sizes.updates(math.inf, 11) == 11


def test_no_more_epochs_are_drawn_than_a_question_is_about():
    asked = []

    def tokens(epoch):
        asked.append(epoch)
        return 98

    sizes = by_epoch(BASE, [1], tokens)
    assert sizes.updates(math.inf, 15) == 15 and sizes.place(15) == (1, 5) and sizes.targets(20) == 2 * 98
    assert asked == [0, 1]
    assert RunSizes.same(BASE).updates(10**9) == 10**10  # and none of alike ones


def test_a_list_of_equal_numbers_is_the_number():
    assert by_epoch(BASE, [2, 2, 2]).alike == by_epoch(BASE, [2]).alike == 0
    assert by_epoch(BASE, [1, 2, 2]).alike == 1 and by_epoch(BASE, [1], TOKENS.__getitem__).alike is None


@pytest.mark.parametrize(("value", "holds"), [(1, True), (0, False), ([1, 4], True), ([], False), ([2, 0], False)])
def test_what_an_accumulation_may_be(value, holds):
    assert Accumulation().holds(value) is holds


def test_without_a_trainer_an_update_is_a_micro_batch():
    assert accumulation_of(None) == (1,)


@pytest.mark.parametrize("updates", [0, 1, 2, 3, 4, 9])
def test_the_first_updates_of_an_epoch_have_the_targets_of_each(updates):
    sizes = EpochSizes(98, 5, 2, 3)
    each = [sizes.targets_of_update(index * 3) for index in range(sizes.updates)]
    assert sizes.targets_of_first(updates) == sum(each[:updates])
    assert [sizes.update_of(index) for index in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_micro_batch_of_a_run_belongs_to_the_update_that_is_made_of_it():
    """Of 5 micro-batches an epoch has 3 updates of 2, the last of them smaller."""
    sizes = EpochSizes(tokens=50, block_size=10, batch_size=1, accumulate=2)
    assert [sizes.update_of_run(step) for step in range(12)] == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6]
