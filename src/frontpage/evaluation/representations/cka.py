"""Linear centred kernel alignment of two sets of vectors (Kornblith et al. 2019, arXiv 1905.00414, section 3)."""

import torch
from torch import Tensor

from frontpage.evaluation.representations.vectors import normalised_pair


def linear_cka(x: Tensor, y: Tensor) -> float:
    """|X0^T Y0|^2 / (|X0^T X0| |Y0^T Y0|) of (n, C) and (n, D), in Frobenius norms: from 0 to 1, which is a rotation.

    Rows correspond. With fewer rows than columns the same from the n x n Gram matrices. Raises DegenerateVectors.
    """
    x0, y0 = normalised_pair(x, y)
    norm = torch.linalg.matrix_norm
    if len(x0) < max(x0.shape[1], y0.shape[1]):
        one, other = x0 @ x0.mT, y0 @ y0.mT
        return float((one * other).sum() / (norm(one) * norm(other)))
    return float(norm(x0.mT @ y0) ** 2 / (norm(x0.mT @ x0) * norm(y0.mT @ y0)))
