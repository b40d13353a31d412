"""Promises of k-means and of what clusters are compared by: blobs are found, values are those by hand and of others."""

import itertools
import math
import warnings

import pytest
import torch
from torchmetrics.functional.clustering import adjusted_rand_score, normalized_mutual_info_score

from frontpage.evaluation.representations.agreement import adjusted_rand, normalised_mutual_information, purity
from frontpage.evaluation.representations.kmeans import kmeans
from frontpage.evaluation.representations.vectors import DegenerateVectors


def blobs(count, each, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count).repeat_interleave(each)
    return 3 * torch.eye(count)[labels] + spread * torch.randn(len(labels), count, generator=generator), labels


def spread_of(vectors, clusters):
    """The sum of the squared distances to the means."""
    parts = [vectors[clusters == one] for one in clusters.unique()]
    return sum(float((part - part.mean(0)).square().sum()) for part in parts)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_separate_blobs_are_found(count):
    vectors, labels = blobs(count, 20, 0.2)
    clusters = kmeans(vectors, count)
    assert normalised_mutual_information(clusters, labels) == pytest.approx(1, abs=1e-12)
    assert adjusted_rand(clusters, labels) == 1 and purity(clusters, labels) == 1


def test_starts_that_are_far_apart_find_most_blobs_at_once():
    vectors, labels = blobs(9, 20, 0.05)
    found = [purity(kmeans(vectors, 9, restarts=1, seed=seed), labels) == 1 for seed in range(20)]
    assert sum(found) >= 18  # of starts anywhere 10


@pytest.mark.slow
def test_of_few_rows_the_best_of_all_partitions_is_found():
    vectors = torch.randn(7, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    partitions = (torch.tensor(one) for one in itertools.product(range(3), repeat=7))
    best = min(spread_of(vectors, one) for one in partitions if len(one.unique()) == 3)
    assert spread_of(vectors, kmeans(vectors, 3, restarts=20)) == pytest.approx(best, abs=1e-12)


def test_the_same_seed_gives_the_same_and_leaves_other_draws_alone():
    vectors, _ = blobs(4, 10, 2.0)
    before = torch.get_rng_state()
    assert torch.equal(kmeans(vectors, 4, seed=1), kmeans(vectors, 4, seed=1))
    assert torch.equal(before, torch.get_rng_state())


def test_equal_rows_and_as_many_clusters_as_rows_are_no_problem():
    assert len(kmeans(torch.ones(5, 2), 3)) == 5
    assert sorted(kmeans(torch.arange(4.0)[:, None], 4, restarts=30).tolist()) == [0, 1, 2, 3]
    assert kmeans(torch.randn(6, 2), 1).tolist() == [0] * 6
    with pytest.raises(DegenerateVectors, match="2 rows: at least 3"):
        kmeans(torch.randn(2, 2), 3)
    with pytest.raises(DegenerateVectors, match="0 clusters"):
        kmeans(torch.randn(2, 2), 0)


def drawn(rows, kinds, seed, kept=0.5):
    """(clusters, classes) that agree in about a share `kept`."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(kinds, (rows,), generator=generator)
    other = torch.randint(kinds, (rows,), generator=generator)
    return torch.where(torch.rand(rows, generator=generator) < kept, classes, other), classes


@pytest.mark.parametrize("seed", range(6))
def test_other_libraries_have_the_same_numbers(seed):
    clusters, classes = drawn(50 + 200 * seed, 2 + seed, seed)
    found = normalised_mutual_information(clusters, classes), adjusted_rand(clusters, classes)
    with warnings.catch_warnings(action="ignore"):  # of PyTorch about sparse tensors
        theirs = normalized_mutual_info_score(clusters, classes), adjusted_rand_score(clusters, classes)
    assert found == pytest.approx([*map(float, theirs)], abs=5e-6)  # computed in fp32
    metrics = pytest.importorskip("sklearn.metrics")
    one, other = clusters.numpy(), classes.numpy()
    exact = metrics.normalized_mutual_info_score(other, one), metrics.adjusted_rand_score(other, one)
    assert found == pytest.approx(exact, abs=1e-10)


def test_values_by_hand():
    clusters, classes = torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 5, 9])
    # Of 6 pairs 2 are together in clusters, 3 in classes, 1 in both; chance has 2 x 3 / 6 = 1.
    assert adjusted_rand(clusters, classes) == pytest.approx((1 - 1) / (2.5 - 1), abs=1e-12)
    entropies = math.log(2), math.log(4) - 0.75 * math.log(3)
    joint = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert normalised_mutual_information(clusters, classes) == pytest.approx(
        2 * (sum(entropies) - joint) / sum(entropies), abs=1e-12
    )
    assert purity(clusters, classes) == 0.75


def test_names_of_clusters_mean_nothing_and_chance_is_near_0():
    clusters, classes = drawn(400, 4, 0)
    renamed = (clusters * 7 + 3) % 11
    assert adjusted_rand(renamed, classes) == pytest.approx(adjusted_rand(clusters, classes), abs=1e-12)
    assert normalised_mutual_information(renamed, classes) == pytest.approx(
        normalised_mutual_information(clusters, classes), abs=1e-12
    )
    unrelated, classes = drawn(5000, 4, 1, kept=0.0)
    assert abs(adjusted_rand(unrelated, classes)) < 5e-3 > normalised_mutual_information(unrelated, classes)
    assert purity(unrelated, classes) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("clusters", "classes", "information", "rand", "share"),
    [
        ([0, 0, 0], [0, 0, 0], 1, 1, 1),  # nothing to tell apart, and nothing is
        ([0, 0, 0], [0, 1, 2], 0, 0, 1 / 3),
        ([0, 1, 2], [0, 0, 0], 0, 0, 1),
        ([0, 1, 2], [2, 0, 1], 1, 1, 1),
        ([3], [8], 1, 1, 1),
    ],
)
def test_clusters_or_classes_of_one_kind(clusters, classes, information, rand, share):
    pair = torch.tensor(clusters), torch.tensor(classes)
    found = normalised_mutual_information(*pair), adjusted_rand(*pair), purity(*pair)
    assert found == pytest.approx((information, rand, share), abs=1e-12)


def test_unequal_numbers_are_refused():
    with pytest.raises(DegenerateVectors, match="clusters"):
        purity(torch.tensor([0, 1]), torch.tensor([0, 1, 1]))
