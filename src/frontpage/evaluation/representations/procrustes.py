"""How well one set of vectors is another one, moved, turned and scaled (Schönemann 1966; Gower 1975).

X (n, C) and Y (n, D) have a row for each of the same n texts. Both are centred and divided by their Frobenius norm,
to X0 and Y0, and X0^T Y0 = U S V^T. The best rotation is U V^T, and sum S (the nuclear norm) is all that the rest
needs. Where C and D differ, zeros fill up the narrower: it turns within the larger space, and they add nothing to
sum S.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.evaluation.representations.vectors import normalised_pair


class Alignment(NamedTuple):
    """A disparity, beside that of rows which do not belong together."""

    disparity: float
    shuffled: float  # mean over orders of Y's rows that were drawn: what vectors of these sizes agree by chance
    gain: float  # 1 - disparity / shuffled: 1 is the same, 0 chance, NaN where any order fits


def disparity(x: Tensor, y: Tensor, *, scaling: bool = True, reflections: bool = True) -> float:
    """What is left of Y0 after X0 was turned onto it: 1 - (sum S)^2, from 0 to 1, after the best scaling.

    Without `scaling` 2 - 2 sum S, from 0 to 2. Without `reflections` only rotations in the narrow sense are allowed,
    and the least singular value counts negative where the best turn would mirror. Raises DegenerateVectors.
    """
    return _disparity(*map(_reduced, normalised_pair(x, y)), scaling, reflections)


def best_rotation(x: Tensor, y: Tensor, *, reflections: bool = True) -> Tensor:
    """The orthogonal R (W, W) that makes X0 R as near as can be to Y0; W is the larger width, zeros fill the other."""
    x0, y0 = normalised_pair(x, y)
    width = max(x0.shape[1], y0.shape[1])
    x0, y0 = (F.pad(one, (0, width - one.shape[1])) for one in (x0, y0))
    u, _, vh = torch.linalg.svd(x0.mT @ y0)
    if not reflections and torch.linalg.slogdet(u @ vh).sign < 0:
        u[:, -1] = -u[:, -1]
    return u @ vh


def alignment(
    x: Tensor, y: Tensor, *, scaling: bool = True, reflections: bool = True, shuffles: int = 5, seed: int = 0
) -> Alignment:
    """The disparity, its mean over `shuffles` orders of Y's rows, and the gain. Raises DegenerateVectors.

    With few rows for their width even vectors that have nothing to do with each other align well: that is the baseline.
    """
    x0, y0 = map(_reduced, normalised_pair(x, y))
    found = _disparity(x0, y0, scaling, reflections)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(y0), generator=generator) for _ in range(shuffles)]
    shuffled = sum(_disparity(x0, y0[order], scaling, reflections) for order in orders) / shuffles
    gain = 1 - found / shuffled if shuffled > 1e-12 else float("nan")
    return Alignment(found, shuffled, gain)


def _reduced(x0: Tensor) -> Tensor:
    """(n, C) with n < C -> (n, n) with the same Gram matrix, the rows in a basis of their own; else as it is.

    Singular values of products stay, and need no C x C matrix. A square root of the Gram matrix would do the same and
    lose half of the digits.
    """
    return torch.linalg.qr(x0.mT, mode="r")[1].mT if x0.shape[0] < x0.shape[1] else x0


def _disparity(x0: Tensor, y0: Tensor, scaling: bool, reflections: bool) -> float:
    product = x0.mT @ y0
    values = torch.linalg.svdvals(product)
    total = float(values.sum())
    square = product.shape[0] == product.shape[1]  # else there is room to turn a mirrored set within the larger space
    if not reflections and square and float(torch.linalg.slogdet(product).sign) < 0:
        total -= 2 * float(values[-1])
    if scaling:
        return max(1 - max(total, 0.0) ** 2, 0.0)
    return max(2 - 2 * total, 0.0)
