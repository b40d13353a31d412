"""Promises of linear CKA: the formula of its paper, its invariances, known values."""

import pytest
import torch

from frontpage.evaluation.representations.cka import linear_cka
from frontpage.evaluation.representations.vectors import DegenerateVectors


def drawn(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hsic(x, y):
    """tr(K H L H) over the root of both with themselves, as in the appendix of Kornblith et al. 2019."""
    count = len(x)
    centre = torch.eye(count, dtype=torch.float64) - 1 / count

    def hsic(one, other):
        return float(torch.trace(one @ one.mT @ centre @ other @ other.mT @ centre))

    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


@pytest.mark.parametrize(("rows", "wide", "narrow"), [(50, 6, 6), (50, 6, 3), (5, 20, 20), (10, 30, 4)])
def test_it_is_the_formula_of_the_paper(rows, wide, narrow):
    x, y = drawn(rows, wide), drawn(rows, narrow, 1)
    assert linear_cka(x, y) == pytest.approx(by_hsic(x, y), abs=1e-10)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y), abs=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(50, 6), (6, 50)])
def test_a_rotation_and_a_scale_leave_it_at_1_and_a_stretch_does_not(rows, columns):
    x = drawn(rows, columns)
    turned = 3 * x @ torch.linalg.qr(drawn(columns, columns, 1))[0] + 5
    assert linear_cka(x, turned) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, x * torch.logspace(0, 2, columns, dtype=torch.float64)) < 0.95


def test_directions_of_their_own_have_none():
    x = torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]])
    y = torch.tensor([[0.0, 0], [0, 0], [1, 0], [-1, 0]])
    assert linear_cka(x, y) == pytest.approx(0, abs=1e-12)


def test_equal_rows_are_refused():
    with pytest.raises(DegenerateVectors, match="equal"):
        linear_cka(torch.ones(4, 2), drawn(4, 2))
    with pytest.raises(DegenerateVectors, match="rows"):
        linear_cka(drawn(5, 2), drawn(4, 2))
