"""What a linear rule reads of a class: ridge regression on the classes, judged on rows that it has not seen."""

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.evaluation.representations.vectors import DegenerateVectors, checked, checked_labels

RIDGE = 1e-2  # of the mean of the Gram matrix's diagonal


def linear_probe(vectors: Tensor, labels: Tensor, *, folds: int = 5, seed: int = 0) -> float:
    """The share of rows (n, C) whose class (n,) a ridge regression of the other `folds` - 1 parts names.

    Each class is dealt out to the folds in turn, so that all hold it alike. By chance it is the share of the commonest
    class. Raises DegenerateVectors for a class with fewer rows than 2.
    """
    rows = checked(vectors, least=2)
    classes = checked_labels(labels, len(rows))
    sizes = classes.bincount()
    if int(sizes.min()) < 2 or len(sizes) < 2:
        raise DegenerateVectors(f"classes of {sizes.tolist()} rows: at least 2 classes of 2 are needed")
    part, right = _dealt(classes, folds, seed), 0
    for fold in range(folds):
        test = part == fold
        if bool(test.any()):
            right += int((_guess(rows[~test], classes[~test], rows[test], len(sizes)) == classes[test]).sum())
    return right / len(rows)


def _dealt(classes: Tensor, folds: int, seed: int) -> Tensor:
    """The fold (n,) of each row."""
    part, generator = torch.empty_like(classes), torch.Generator().manual_seed(seed)
    for one in range(int(classes.max()) + 1):
        own = torch.nonzero(classes == one)[:, 0]
        part[own[torch.randperm(len(own), generator=generator)]] = torch.arange(len(own)) % folds
    return part


def _guess(rows: Tensor, classes: Tensor, asked: Tensor, count: int) -> Tensor:
    """The class of each row that is asked, by the regression's dual form: n x n, however wide the rows are."""
    mean = rows.mean(0)
    centred = rows - mean
    gram = centred @ centred.mT
    penalty = RIDGE * float(gram.diagonal().mean()) or 1.0  # equal rows tell nothing, whatever it is
    targets = F.one_hot(classes, count).double()
    weights = torch.linalg.solve(gram + penalty * torch.eye(len(rows), dtype=rows.dtype), targets - targets.mean(0))
    return ((asked - mean) @ centred.mT @ weights + targets.mean(0)).argmax(1)
