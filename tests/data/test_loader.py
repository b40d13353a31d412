"""The order of training depends on (seed, epoch) only, and can be taken up anywhere, on any number of processes."""

import numpy as np
import pytest
from loaders import TITLES, make

from frontpage.data.packing import IGNORED

TOKENS = sum(map(len, TITLES))


def lists(batches):
    """The batches as plain lists, to compare."""
    return [[field.tolist() for field in batch] for batch in batches]


def targets(batches):
    return [token for batch in batches for token in batch.targets.flatten().tolist() if token != IGNORED]


def test_the_order_depends_on_seed_and_epoch_only():
    first, second = make(), make()
    epochs = [lists(first) for _ in range(3)]
    assert [lists(second) for _ in range(3)] == epochs
    late = make()
    late.load_state_dict({"epoch": 2, "batches_done": 0})  # no need to have gone through the epochs before
    assert lists(late) == epochs[2]
    assert lists(make(seed=4)) != epochs[0]


def test_another_epoch_has_another_order_of_the_same_tokens():
    loader = make()
    epochs = [targets(loader) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])


@pytest.mark.parametrize("seed", [3, 4])
def test_an_epoch_is_a_permutation_of_the_titles_by_seed_and_epoch(seed):
    """Whole titles change places, not rows that were cut before."""
    loader, orders = make(seed=seed), []
    for epoch in range(3):
        orders.append(np.random.default_rng((seed, epoch)).permutation(len(TITLES)).tolist())
        assert targets(loader) == [token for title in orders[-1] for token in TITLES[title]]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_without_repacking_every_epoch_is_the_titles_in_their_order():
    loader = make(repack=False)
    epochs = [targets(loader) for _ in range(2)]
    assert epochs == [[token for title in TITLES for token in title]] * 2
    assert lists(make(repack=False, seed=9)) == lists(make(repack=False))


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("drop_tail", [False, True])
def test_a_loader_taken_up_after_any_batch_goes_on_with_exactly_the_batches_left(drop_tail, world_size):
    settings = {"drop_tail": drop_tail, "world_size": world_size}
    whole = make(**settings)
    size = len(whole)
    stream = [batch for _ in range(4) for batch in lists(whole)]
    assert size > 4 and len(stream) == 4 * size
    for taken in range(2 * size + 1):
        interrupted = make(**settings)
        seen = []
        while len(seen) < taken:
            for batch in interrupted:
                seen += lists([batch])
                if len(seen) == taken:
                    break
        resumed = make(**settings)
        resumed.load_state_dict(interrupted.state_dict())
        assert len(resumed) == size  # Lightning counts an epoch's batches anew
        rest = lists(resumed)
        assert len(rest) == size - taken % size
        rest += lists(resumed)
        assert seen + rest == stream[: len(seen) + len(rest)]


def test_the_state_after_the_last_batch_of_an_epoch_is_the_next_epochs_start():
    """Lightning does not ask for more after the last batch, so the state must be right before the loop's end."""
    loader = make()
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    assert loader.state_dict() == {"epoch": 1, "batches_done": 0}
    assert len(list(loader)) == len(loader)


@pytest.mark.parametrize(("limit", "count"), [(1.0, 15), (0.5, 7), (0.34, 5), (3, 3), (100, 15)])
def test_a_limit_ends_every_epoch_early_and_the_next_epoch_is_packed_anew(limit, count):
    """As Lightning counts `limit_train_batches`: a whole number of batches, or the share rounded down."""
    whole, limited = make(), make(limit=limit)
    assert len(whole) == len(limited) == 15
    for _ in range(3):
        assert lists(limited) == lists(whole)[:count]
    assert limited.state_dict() == {"epoch": 3, "batches_done": 0}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_processes_rows_together_are_the_rows_of_one_process(world_size, batch_size):
    single = make(batch_size=batch_size * world_size)
    ranks = [make(batch_size=batch_size, world_size=world_size, rank=rank) for rank in range(world_size)]
    assert {len(loader) for loader in ranks} == {len(single)}
    assert {loader.sizes_of(0).targets for loader in ranks} == {TOKENS}
    for batch, *parts in zip(single, *ranks, strict=True):
        assert len({part.inputs.shape for part in parts}) == 1
        rows = [row for part in parts for row in zip(*(field.tolist() for field in part), strict=True)]
        real = [row for row in rows if any(token != IGNORED for token in row[1])]
        assert sorted(real) == sorted(zip(*(field.tolist() for field in batch), strict=True))


def test_rows_that_fill_up_a_process_have_no_targets_but_are_real_rows():
    """A process without a row would stand still in the first collective operation."""
    ranks = [list(make(batch_size=1, world_size=16, rank=rank))[-1] for rank in range(16)]
    assert {part.inputs.shape for part in ranks} == {(1, 5)}
    filling = [part for part in ranks if (part.targets == IGNORED).all()]
    assert 0 < len(filling) < 16
    rows = [part.inputs.tolist() for part in ranks]
    assert all(part.inputs.tolist() in rows[: 16 - len(filling)] for part in filling)


@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (4, 1), (2, 3), (7, 2)])
def test_targets_are_counted_without_looking_at_the_batches(batch_size, world_size, drop_tail):
    settings = {"batch_size": batch_size, "world_size": world_size, "drop_tail": drop_tail}
    ranks = [make(rank=rank, **settings) for rank in range(world_size)]
    counted = [ranks[0].sizes_of(0).targets_in(index) for index in range(len(ranks[0]))]
    assert counted == [len(targets(parts)) for parts in zip(*ranks, strict=True)]
    assert sum(counted) == ranks[0].sizes_of(0).targets
    assert ranks[0].sizes_of(0).targets == TOKENS or drop_tail
