"""What all measures of vectors ask of them first."""

import torch
from torch import Tensor

ROUNDING = 1e-13  # of the norm: centred vectors that are shorter are equal but for rounding


class DegenerateVectors(ValueError):
    """Vectors for which a measure has no value."""


def checked(vectors: Tensor, least: int = 1) -> Tensor:
    """(n, C) -> the same in fp64 on the CPU; DegenerateVectors for fewer than `least` rows and what is not finite."""
    if vectors.ndim != 2:
        raise DegenerateVectors(f"{tuple(vectors.shape)} numbers: rows of vectors are needed, (n, C)")
    if len(vectors) < least:
        raise DegenerateVectors(f"{len(vectors)} rows: at least {least} are needed")
    found = vectors.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(found).all()):
        raise DegenerateVectors("numbers that are not finite")
    return found


def normalised(vectors: Tensor) -> Tensor:
    """(n, C) -> (n, C): columns centred, then a Frobenius norm of 1; DegenerateVectors where all rows are equal."""
    found = checked(vectors, least=2)
    centred = found - found.mean(0)
    norm = torch.linalg.matrix_norm(centred)
    if norm <= ROUNDING * torch.linalg.matrix_norm(found):
        raise DegenerateVectors("all rows are equal, so nothing is left once they are centred")
    return centred / norm


def normalised_pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both `normalised`, (n, C) and (n, D); DegenerateVectors where they have not a row for each of the same texts."""
    if x.ndim == y.ndim == 2 and len(x) != len(y):
        raise DegenerateVectors(f"{len(x)} and {len(y)} rows: a pair needs as many of both")
    return normalised(x), normalised(y)


def unit_rows(vectors: Tensor) -> Tensor:
    """(n, C) -> (n, C), each row of length 1; DegenerateVectors for a row of zeros, which has no direction."""
    found = checked(vectors)
    norms = found.norm(dim=1)
    if bool((norms == 0).any()):
        raise DegenerateVectors(f"row {int((norms == 0).nonzero()[0])} is all zeros and has no direction")
    return found / norms[:, None]


def checked_labels(labels: Tensor, rows: int) -> Tensor:
    """Labels (n,) -> numbers 0.. of their classes in order (n,); DegenerateVectors for another number than `rows`."""
    if labels.shape != (rows,):
        raise DegenerateVectors(f"{tuple(labels.shape)} labels for {rows} rows: one for each is needed")
    return labels.cpu().unique(return_inverse=True)[1]
