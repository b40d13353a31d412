"""Promises of the silhouette: values by hand, scikit-learn's number, its baseline, the cases without a value."""

import math

import numpy as np
import pytest
import torch

from frontpage.evaluation import representations
from frontpage.evaluation.representations.silhouettes import silhouettes
from frontpage.evaluation.representations.vectors import DegenerateVectors


def blobs(spread, sizes=(20, 20, 20), seed=0):
    """(vectors, labels): classes around directions at right angles."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.eye(8, dtype=torch.float64)[labels] + spread * noise, labels


def test_separate_classes_are_near_1_and_their_permuted_labels_near_0():
    found = silhouettes(*blobs(1e-3))
    assert found.mean > 0.999 and min(found.of_classes) > 0.999
    assert abs(found.permuted) < 0.1 and found.z > 20


def test_labels_that_mean_nothing_are_near_0():
    vectors, labels = blobs(0.3, sizes=(40, 40))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(9))
    found = silhouettes(vectors, labels[order])
    assert abs(found.mean) < 0.05 and abs(found.z) < 4


def test_values_by_hand():
    # Two rows at 0 and 60 degrees in class 0, one at 90 in class 1: distances 1/2, 1, and 1 - sqrt(3)/2.
    half, root = 0.5, math.sqrt(3) / 2
    vectors = torch.tensor([[2.0, 0.0], [half, root], [0.0, 5.0]], dtype=torch.float64)
    found = silhouettes(vectors, torch.tensor([4, 4, 7]))
    near = 1 - root
    own = ((1 - half) / 1, (near - half) / half)
    assert found.of_classes == pytest.approx([sum(own) / 2, 0.0], abs=1e-12)  # one that is alone has 0
    assert found.mean == pytest.approx(sum(own) / 3, abs=1e-12)


@pytest.mark.parametrize("sizes", [(20, 20, 20), (30, 5, 1), (2, 2)])
def test_another_library_has_the_same_numbers(sizes):
    metrics = pytest.importorskip("sklearn.metrics")
    vectors, labels = blobs(0.5, sizes)
    values = metrics.silhouette_samples(vectors.numpy(), labels.numpy(), metric="cosine")
    found = silhouettes(vectors, labels)
    assert found.mean == pytest.approx(values.mean(), abs=1e-10)
    assert found.of_classes == pytest.approx([values[labels == one].mean() for one in range(len(sizes))], abs=1e-10)


def test_it_is_the_definition_row_by_row():
    vectors, labels = blobs(0.6, (7, 4, 9))
    rows = vectors / vectors.norm(dim=1, keepdim=True)
    values = []
    for row in range(20):
        distances = np.array([1 - float(rows[row] @ rows[other]) for other in range(20)])
        of = {one: distances[(labels == one).numpy() & (np.arange(20) != row)].mean() for one in range(3)}
        a, b = of.pop(int(labels[row])), min(value for one, value in of.items() if one != int(labels[row]))
        values.append((b - a) / max(a, b))
    assert silhouettes(vectors, labels).mean == pytest.approx(np.mean(values), abs=1e-12)
    assert representations.silhouette(vectors, labels) == silhouettes(vectors, labels).mean


def test_the_baseline_is_the_mean_over_permutations_and_z_counts_their_deviations():
    vectors, labels = blobs(0.5)
    found, generator = silhouettes(vectors, labels, permutations=10, seed=2), torch.Generator().manual_seed(2)
    orders = [torch.randperm(60, generator=generator) for _ in range(10)]
    by_hand = [silhouettes(vectors, labels[order]).mean for order in orders]
    assert found.permuted == pytest.approx(np.mean(by_hand), abs=1e-12)
    assert found.z == pytest.approx((found.mean - np.mean(by_hand)) / np.std(by_hand, ddof=1), abs=1e-9)
    assert found == silhouettes(vectors, labels, permutations=10, seed=2)


def test_rows_that_are_all_the_same_have_0_and_no_z():
    found = silhouettes(torch.ones(6, 3), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert found.mean == 0 and found.permuted == 0 and math.isnan(found.z)


def test_each_row_a_class_of_its_own_has_0():
    assert silhouettes(torch.randn(4, 3), torch.arange(4)).mean == 0


@pytest.mark.parametrize(
    ("vectors", "labels", "said"),
    [
        (torch.randn(4, 3), torch.zeros(4, dtype=torch.int64), "one class"),
        (torch.randn(4, 3), torch.tensor([0, 1, 1]), "labels for 4 rows"),
        (torch.tensor([[1.0, 0], [0, 0], [0, 1]]), torch.tensor([0, 1, 1]), "row 1 is all zeros"),
        (torch.empty(0, 3), torch.empty(0, dtype=torch.int64), "rows"),
    ],
    ids=["one class", "too few labels", "a row of zeros", "no rows"],
)
def test_what_has_no_silhouette_is_refused(vectors, labels, said):
    for function in (silhouettes, representations.silhouette):
        with pytest.raises(DegenerateVectors, match=said):
            function(vectors, labels)
