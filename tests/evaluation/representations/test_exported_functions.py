"""The functions that notebooks and other programs import: plain numbers of (n, d) tensors."""

import pytest
import torch

from frontpage.evaluation import representations
from frontpage.evaluation.representations import effective_rank, linear_cka, procrustes_disparity, silhouette


def drawn(rows=12, width=4, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_they_are_all_that_is_exported():
    assert representations.__all__ == ["effective_rank", "linear_cka", "procrustes_disparity", "silhouette"]


def test_a_turned_moved_and_scaled_set_is_the_same_one():
    x, turn = drawn(), torch.linalg.qr(drawn(4, 4, seed=1))[0]
    y = 3 * x @ turn + 5
    assert procrustes_disparity(x, y) == pytest.approx(0, abs=1e-6) and linear_cka(x, y) == pytest.approx(1, abs=1e-6)
    assert 0 < procrustes_disparity(x, drawn(seed=2)) <= 1 and 0 <= linear_cka(x, drawn(seed=2)) < 1


def test_classes_at_right_angles_are_apart_and_directions_are_counted():
    labels = torch.tensor([0, 0, 1, 1])
    rows = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 3]])
    assert silhouette(rows, labels) == 1.0 and silhouette(rows, torch.tensor([0, 1, 0, 1])) == pytest.approx(-0.5)
    assert effective_rank(torch.eye(5)) == pytest.approx(5) and effective_rank(rows[:2]) == pytest.approx(1)


@pytest.mark.parametrize("function", [procrustes_disparity, linear_cka, silhouette])
def test_they_are_plain_numbers(function):
    other = torch.arange(12) % 3 if function is silhouette else drawn(seed=3)
    assert type(function(drawn(), other)) is float and type(effective_rank(drawn())) is float
