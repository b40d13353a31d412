"""Promises of the metrics of judgements: each by its definition, and by simulation where that is an error."""

import itertools
import math

import pytest
import torch

from frontpage.evaluation.pairs import (
    Ranks,
    auroc_with_error,
    chance_of_ranks,
    mean_with_error,
    ranks_in_pool,
    share_with_error,
)


def test_a_share_and_its_error():
    share, error = share_with_error(torch.tensor([True, True, True, False]))
    assert share == 0.75 and error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_a_mean_and_its_error():
    mean, error = mean_with_error(torch.tensor([1.0, 2.0, 6.0]))
    assert mean == 3 and error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert math.isnan(mean_with_error(torch.tensor([1.0]))[1])


def test_the_area_is_the_share_of_pairs_in_order_with_ties_as_halves():
    scores = torch.tensor([3.0, -1.0, 2.0, 2.0, 500.0, 501.0, 0.5])
    labels = torch.tensor([1, 0, 0, 1, 1, 0, 0]).bool()
    pairs = list(itertools.product(scores[labels].tolist(), scores[~labels].tolist()))
    expected = sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs)
    assert auroc_with_error(scores, labels)[0] == pytest.approx(expected)
    assert auroc_with_error(-scores, labels)[0] == pytest.approx(1 - expected)


@pytest.mark.slow
def test_the_error_of_an_area_is_its_deviation_over_samples():
    torch.manual_seed(0)
    drawn = [
        auroc_with_error(torch.cat([torch.randn(60) + 1, torch.randn(90)]), torch.arange(150) < 60) for _ in range(2000)
    ]
    areas, errors = map(torch.tensor, zip(*drawn, strict=True))
    assert float(areas.mean()) == pytest.approx(0.7602, abs=0.003)  # of two normals one deviation apart
    assert float(errors.mean()) == pytest.approx(float(areas.std()), rel=0.05)


def test_an_area_needs_both_kinds():
    assert all(map(math.isnan, auroc_with_error(torch.randn(3), torch.ones(3).bool())))


@pytest.mark.parametrize("positives", [1, 4])
def test_one_member_of_a_kind_has_no_area(positives):
    assert all(map(math.isnan, auroc_with_error(torch.randn(5), torch.arange(5) < positives)))


def test_ranks_count_the_nearer_candidates_that_are_allowed():
    queries = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    pool = torch.tensor([[1.0, 0.1], [5.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    everything = torch.ones(2, 4).bool()
    assert ranks_in_pool(queries, pool, torch.tensor([0, 3]), everything).nearer.tolist() == [1, 1]
    without = everything.clone()
    without[0, 1] = without[1, 2] = False
    found = ranks_in_pool(queries, pool, torch.tensor([0, 3]), without)
    assert found.nearer.tolist() == found.equal.tolist() == [0, 0]
    assert found.reciprocal().tolist() == found.recall(1).tolist() == [1, 1]


def test_a_model_that_answers_the_same_to_all_is_at_chance():
    ranks = ranks_in_pool(torch.ones(5, 3), torch.ones(9, 3), torch.arange(5), torch.ones(5, 9).bool())
    assert (ranks.nearer.tolist(), ranks.equal.tolist()) == ([0] * 5, [8] * 5)
    reciprocal, recall = chance_of_ranks(torch.full((5,), 9), 2)
    assert ranks.reciprocal().tolist() == pytest.approx([reciprocal] * 5)
    assert ranks.recall(2).tolist() == pytest.approx([recall] * 5)


def test_ties_are_the_mean_over_the_orders_of_those_that_are_as_near():
    ranks = Ranks(torch.tensor([0, 2, 1]), torch.tensor([0, 0, 1]))  # first, third, second or third
    assert ranks.reciprocal().tolist() == pytest.approx([1, 1 / 3, (1 / 2 + 1 / 3) / 2])
    assert ranks.recall(2).tolist() == [1, 0, 0.5] and ranks.recall(1).tolist() == [1, 0, 0]


def test_chance_is_the_mean_over_random_ranks():
    reciprocal, recall = chance_of_ranks(torch.tensor([4, 2]), 2)
    assert reciprocal == pytest.approx(((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4 + (1 + 1 / 2) / 2) / 2)
    assert recall == pytest.approx((0.5 + 1) / 2)
