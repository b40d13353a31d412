"""Promises of the Procrustes disparity: closed forms, what an explicit rotation leaves, other libraries."""

import math

import pytest
import torch
from torchmetrics.functional.shape.procrustes import procrustes_disparity

from frontpage.evaluation.representations.procrustes import alignment, best_rotation, disparity
from frontpage.evaluation.representations.vectors import DegenerateVectors, normalised

SIZES = [(40, 6), (7, 7), (6, 40), (300, 3)]  # more rows than columns, as many, fewer


def drawn(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(width, seed=0, sign=1.0):
    """An orthogonal matrix with this determinant."""
    q = torch.linalg.qr(drawn(width, width, seed))[0]
    if float(torch.linalg.det(q)) * sign < 0:
        q[:, 0] = -q[:, 0]
    return q


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("scaling", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_set_that_was_turned_moved_and_scaled_is_the_same(rows, columns, scaling, sign):
    x = drawn(rows, columns)
    y = 3.7 * x @ orthogonal(columns, 1, sign) + drawn(1, columns, 2)
    assert disparity(x, y, scaling=scaling) == pytest.approx(0, abs=1e-12)
    assert disparity(x, y.float(), scaling=scaling) == pytest.approx(0, abs=1e-6)
    assert disparity(x, x, scaling=scaling) == pytest.approx(0, abs=1e-12)


def test_columns_in_another_order_are_a_rotation_and_rows_are_none():
    x = drawn(50, 5)
    assert disparity(x, x[:, [3, 0, 4, 1, 2]]) == pytest.approx(0, abs=1e-12)
    assert disparity(x, x[torch.randperm(50, generator=torch.Generator().manual_seed(1))]) > 0.5


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("reflections", [True, False])
def test_the_disparity_is_what_the_best_rotation_leaves(rows, columns, reflections):
    x, y = drawn(rows, columns), drawn(rows, columns, 1)
    x0, y0, rotation = normalised(x), normalised(y), best_rotation(x, y, reflections=reflections)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(columns, dtype=torch.float64), atol=1e-12)
    turned = x0 @ rotation
    unscaled = float((turned - y0).square().sum())
    scale = float((turned * y0).sum())  # the best: the norm of both is 1
    assert disparity(x, y, scaling=False, reflections=reflections) == pytest.approx(unscaled, abs=1e-10)
    assert disparity(x, y, reflections=reflections) == pytest.approx(
        float((scale * turned - y0).square().sum()), abs=1e-10
    )
    assert reflections or float(torch.linalg.det(rotation)) == pytest.approx(1)


def test_no_rotation_that_is_drawn_is_better():
    x, y = drawn(30, 3), drawn(30, 3, 1)
    x0, y0 = normalised(x), normalised(y)
    tried = [float((x0 @ orthogonal(3, seed, 1.0) - y0).square().sum()) for seed in range(300)]
    assert disparity(x, y, scaling=False, reflections=False) <= min(tried)
    tried += [float((x0 @ orthogonal(3, seed, -1.0) - y0).square().sum()) for seed in range(300)]
    assert disparity(x, y, scaling=False) <= min(tried)


def test_a_mirrored_set_is_the_same_only_where_reflections_are_allowed():
    x = drawn(60, 3) * torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    y = x * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    assert disparity(x, y) == pytest.approx(0, abs=1e-12)
    squares = torch.linalg.svdvals(normalised(x)) ** 2
    total = float(squares.sum() - 2 * squares[-1])
    assert disparity(x, y, reflections=False) == pytest.approx(1 - total**2, abs=1e-12)
    assert disparity(x, y, reflections=False, scaling=False) == pytest.approx(2 - 2 * total, abs=1e-12)
    line = drawn(9, 1)
    assert disparity(line, -line, reflections=False) == 1 and disparity(line, -line) == pytest.approx(0, abs=1e-12)


def test_known_values():
    x = torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]])
    y = torch.tensor([[0.0, 0], [0, 0], [1, 0], [-1, 0]])
    assert disparity(x, y) == pytest.approx(1, abs=1e-12)  # nothing of one is in the other
    assert disparity(x, y, scaling=False) == pytest.approx(2, abs=1e-12)
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    narrow = square * torch.tensor([1.0, 0.5])
    total = (1 + 0.5) / math.sqrt(2 * (1 + 0.25))  # of singular values: 4 (1 + 1/2) over the norms sqrt(8) and sqrt(5)
    assert disparity(square, narrow) == pytest.approx(1 - total**2, abs=1e-12)
    assert disparity(square, narrow, scaling=False) == pytest.approx(2 - 2 * total, abs=1e-12)


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_other_libraries_have_the_same_number(rows, columns):
    x, y = drawn(rows, columns), drawn(rows, columns, 1)
    assert disparity(x, y) == pytest.approx(float(procrustes_disparity(y[None], x[None])), abs=1e-10)
    scipy = pytest.importorskip("scipy.spatial")
    assert disparity(x, y) == pytest.approx(scipy.procrustes(y.numpy(), x.numpy())[2], abs=1e-10)


@pytest.mark.parametrize(("rows", "wide", "narrow"), [(50, 7, 3), (6, 20, 9), (12, 30, 5)])
@pytest.mark.parametrize("reflections", [True, False])
def test_zeros_fill_up_the_narrower_of_two_widths(rows, wide, narrow, reflections):
    x, y = drawn(rows, wide), drawn(rows, narrow, 1)
    filled = torch.nn.functional.pad(y, (0, wide - narrow))
    for scaling in (True, False):
        options = {"scaling": scaling, "reflections": reflections}
        assert disparity(x, y, **options) == pytest.approx(disparity(x, filled, **options), abs=1e-12)
        assert disparity(y, x, **options) == pytest.approx(disparity(x, y, **options), abs=1e-12)
    inside = y @ orthogonal(wide, 3)[:narrow]  # the narrow set, somewhere in the wide space
    assert disparity(y, inside, reflections=reflections) == pytest.approx(0, abs=1e-12)
    assert best_rotation(x, y).shape == (wide, wide)


def test_the_baseline_is_the_mean_over_shuffled_rows_and_drawn_alike_every_time():
    x, y = drawn(40, 5), drawn(40, 5, 1)
    found = alignment(x, y, shuffles=5, seed=3)
    generator = torch.Generator().manual_seed(3)
    by_hand = [disparity(x, y[torch.randperm(40, generator=generator)]) for _ in range(5)]
    assert found.shuffled == pytest.approx(sum(by_hand) / 5, abs=1e-12)
    assert found.disparity == disparity(x, y) and found.gain == 1 - found.disparity / found.shuffled
    assert found == alignment(x, y, shuffles=5, seed=3) != alignment(x, y, shuffles=5, seed=4)


@pytest.mark.parametrize(("rows", "columns"), [(200, 10), (32, 64), (64, 16)])
def test_unrelated_sets_are_at_the_baseline_and_a_turned_one_is_far_from_it(rows, columns):
    x = drawn(rows, columns)
    unrelated = alignment(x, drawn(rows, columns, 1))
    assert abs(unrelated.gain) < 0.1
    turned = alignment(x, x @ orthogonal(columns, 1))
    assert turned.disparity == pytest.approx(0, abs=1e-12) and turned.gain == pytest.approx(1)


def test_few_rows_align_by_chance_which_the_baseline_tells():
    few, many = (alignment(drawn(rows, 64), drawn(rows, 64, 1)) for rows in (8, 4000))
    assert few.disparity < 0.2 < 0.8 < many.disparity
    assert abs(few.gain) < 0.3
    pair = alignment(drawn(2, 5), drawn(2, 5, 1))
    assert pair.disparity == pytest.approx(0, abs=1e-12) and math.isnan(pair.gain)


@pytest.mark.parametrize(
    "vectors",
    [torch.ones(5, 3), torch.zeros(5, 3), torch.randn(1, 3), torch.full((4, 2), math.nan), torch.randn(3)],
    ids=["equal rows", "zeros", "one row", "no numbers", "one dimension"],
)
def test_what_cannot_be_aligned_is_refused(vectors):
    for one, other in ((vectors, torch.randn(5, 3)), (torch.randn(5, 3), vectors)):
        with pytest.raises(DegenerateVectors):
            disparity(one, other)
    with pytest.raises(DegenerateVectors, match="equal"):
        normalised(torch.full((6, 3), 1 / 3, dtype=torch.float64))


def test_a_column_without_variance_changes_nothing():
    x, y = drawn(20, 4), drawn(20, 4, 1)
    more = torch.cat([x, torch.full((20, 1), 5.0, dtype=torch.float64)], dim=1)
    assert disparity(more, y) == pytest.approx(disparity(x, y), abs=1e-12)


def test_rows_must_be_as_many():
    with pytest.raises(DegenerateVectors, match="20 and 19 rows"):
        disparity(drawn(20, 3), drawn(19, 3))
