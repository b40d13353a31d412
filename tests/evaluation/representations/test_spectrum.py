"""Promises of the effective rank, the anisotropy and the linear probe."""

import pytest
import torch

from frontpage.evaluation.representations.linear_probe import linear_probe
from frontpage.evaluation.representations.spectrum import anisotropy, effective_rank
from frontpage.evaluation.representations.vectors import DegenerateVectors


def drawn(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), [(30, 7), (7, 30)])
def test_the_effective_rank_of_directions_that_weigh_the_same_is_their_number(rows, columns):
    left = torch.linalg.qr(drawn(rows, rows))[0][:, :4]
    right = torch.linalg.qr(drawn(columns, columns, 1))[0][:, :4]
    assert effective_rank(2.5 * left @ right.mT) == pytest.approx(4, abs=1e-9)
    # Of shares 1/2, 1/4, 1/4 the entropy is 1.5 ln 2.
    shares = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    assert effective_rank(left * shares @ right.mT) == pytest.approx(2**1.5, abs=1e-9)


def test_one_direction_has_rank_1_and_full_anisotropy():
    rows = torch.arange(1.0, 6.0)[:, None] * torch.tensor([[3.0, 4.0]])
    assert effective_rank(rows) == pytest.approx(1, abs=1e-6)
    assert anisotropy(rows) == pytest.approx(1, abs=1e-12)


def test_the_anisotropy_is_the_mean_over_pairs():
    rows = drawn(12, 5)
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    pairs = cosines[torch.triu_indices(12, 12, 1).unbind()]
    assert anisotropy(rows) == pytest.approx(float(pairs.mean()), abs=1e-12)
    assert anisotropy(torch.tensor([[1.0, 0], [-1, 0]])) == pytest.approx(-1, abs=1e-12)
    assert anisotropy(torch.eye(4)) == pytest.approx(0, abs=1e-12)


def test_what_has_none_is_refused():
    with pytest.raises(DegenerateVectors, match="zeros"):
        effective_rank(torch.zeros(3, 2))
    with pytest.raises(DegenerateVectors, match="1 rows"):
        anisotropy(torch.ones(1, 2))


@pytest.mark.parametrize("columns", [4, 200])
def test_the_probe_reads_what_is_there_and_nothing_else(columns):
    labels = torch.arange(3).repeat(40)
    noise = drawn(120, columns)
    assert linear_probe(noise + 30 * torch.eye(columns, dtype=torch.float64)[labels], labels) == 1
    assert linear_probe(noise, labels) == pytest.approx(1 / 3, abs=0.13)  # three standard errors of 120 guesses
    assert linear_probe(noise, labels, seed=1) == linear_probe(noise, labels, seed=1)


def test_the_probe_is_the_regression_in_its_primal_form():
    """Five folds by hand, the weights from normal equations over columns."""
    rows, labels = drawn(40, 3) + torch.eye(3, dtype=torch.float64)[torch.arange(40) % 2], torch.arange(40) % 2
    generator, part = torch.Generator().manual_seed(0), torch.empty(40, dtype=torch.int64)
    for one in (0, 1):
        own = torch.nonzero(labels == one)[:, 0]
        part[own[torch.randperm(len(own), generator=generator)]] = torch.arange(len(own)) % 5
    right = 0
    for fold in range(5):
        seen, test = rows[part != fold], part == fold
        centred, targets = seen - seen.mean(0), torch.nn.functional.one_hot(labels[part != fold], 2).double()
        penalty = 1e-2 * float(centred.square().sum()) / len(seen)
        normal = centred.mT @ centred + penalty * torch.eye(3, dtype=torch.float64)
        weights = torch.linalg.solve(normal, centred.mT @ (targets - targets.mean(0)))
        guess = ((rows[test] - seen.mean(0)) @ weights + targets.mean(0)).argmax(1)
        right += int((guess == labels[test]).sum())
    assert 0.5 < right / 40 < 1 and linear_probe(rows, labels) == right / 40


def test_the_probe_of_equal_rows_guesses():
    assert linear_probe(torch.ones(8, 3), torch.arange(2).repeat(4)) == 0.5


def test_the_probe_needs_two_classes_of_two():
    for labels in ([0, 0, 0, 0], [0, 0, 0, 1]):
        with pytest.raises(DegenerateVectors, match="2 classes of 2"):
            linear_probe(drawn(4, 2), torch.tensor(labels))
