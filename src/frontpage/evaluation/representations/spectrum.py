"""How many directions vectors use: the effective rank, and how much they all point in one."""

import torch
from torch import Tensor

from frontpage.evaluation.representations.vectors import DegenerateVectors, checked, unit_rows


def effective_rank(vectors: Tensor) -> float:
    """exp(H(p)) of the singular values' shares p (Roy and Vetterli 2007): from 1 to the smaller of n and C.

    Of the vectors (n, C) as they are: not centred. Raises DegenerateVectors where all are zero.
    """
    values = torch.linalg.svdvals(checked(vectors))
    if float(values.sum()) == 0:
        raise DegenerateVectors("all rows are zeros and have no rank")
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def anisotropy(vectors: Tensor) -> float:
    """The mean cosine of two rows of (n, C), from -1 / (n - 1) to 1: near 1 all point in one direction."""
    rows = unit_rows(checked(vectors, least=2))
    count = len(rows)
    return (float(rows.sum(0).square().sum()) - count) / (count * (count - 1))
