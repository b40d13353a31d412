"""Promises of the floor: what is below it by more than luck is told, and nothing else."""

from types import SimpleNamespace

import pytest
import torch

from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.floor import below_floor
from frontpage.evaluation.metrics import ratio_with_error

LEAST = torch.tensor([12.0, 63.0, 41.0, 44.0, 20.0], dtype=torch.float64)
SPREAD = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0], dtype=torch.float64)
TOKENS = [7, 9, 6, 12, 8]


def data(known=True):
    sizes = TextSizes.of(["a" * 20, "b" * 30, "c" * 15, "d" * 45, "e" * 25], TOKENS)
    return SimpleNamespace(least_nats=lambda: LEAST if known else None, sizes=sizes)


def nats_at(errors):
    """Nats whose paired difference to the floor is so many of its standard errors."""
    characters = data().sizes.characters
    centred = SPREAD - ratio_with_error(SPREAD, characters)[0] * characters
    return LEAST + centred + errors * ratio_with_error(centred, characters)[1] * characters


@pytest.mark.parametrize(("errors", "below"), [(-3.01, True), (-2.99, False), (0.0, False), (5.0, False)])
def test_three_paired_errors_below_the_floor_are_no_luck(errors, below):
    """By the spread of titles themselves, which is many times that of the differences, none of these would be told."""
    nats = nats_at(errors)
    assert below_floor(data(), nats, torch.tensor(TOKENS)) == below
    wide = ratio_with_error(nats, data().sizes.characters)[1]
    assert wide > 3 * ratio_with_error(nats - LEAST, data().sizes.characters)[1]


def test_only_titles_that_were_scored_whole_count_and_a_floor_must_be_known():
    nats, scored = nats_at(-9.0), torch.tensor(TOKENS)
    assert below_floor(data(), nats, scored) and not below_floor(data(known=False), nats, scored)
    assert not below_floor(data(), nats, torch.zeros(5))
    cut = scored.clone()
    cut[0] -= 1
    spoiled = nats.clone()
    spoiled[0] = 1e6
    assert below_floor(data(), spoiled, cut) and not below_floor(data(), spoiled, scored)
