"""How well clusters agree with classes, whatever they are called: mutual information, the Rand index, purity.

torchmetrics has the first two in fp32, with NMI wrong in the sixth digit, and 0 where clusters and classes are both
single; scikit-learn, whose conventions these are, is no dependency.
"""

import torch
from torch import Tensor

from frontpage.evaluation.representations.vectors import DegenerateVectors


def table(clusters: Tensor, classes: Tensor) -> Tensor:
    """How many rows are in each cluster and class, (clusters, classes) fp64; DegenerateVectors for unequal numbers."""
    if clusters.shape != classes.shape or clusters.ndim != 1 or not len(clusters):
        raise DegenerateVectors(
            f"{tuple(clusters.shape)} clusters, {tuple(classes.shape)} classes: (n,) each is needed"
        )
    one, other = (names.cpu().unique(return_inverse=True)[1] for names in (clusters, classes))
    found = torch.zeros(int(one.max()) + 1, int(other.max()) + 1, dtype=torch.float64)
    return found.index_put_((one, other), torch.ones(len(one), dtype=torch.float64), accumulate=True)


def normalised_mutual_information(clusters: Tensor, classes: Tensor) -> float:
    """Mutual information over the mean of both entropies, from 0 to 1; 1 where both have one member only."""
    shares = table(clusters, classes) / len(clusters)
    mean = (_entropy(shares.sum(0)) + _entropy(shares.sum(1))) / 2
    if mean == 0:
        return 1.0
    return max((2 * mean - _entropy(shares.flatten())) / mean, 0.0)


def adjusted_rand(clusters: Tensor, classes: Tensor) -> float:
    """The share of pairs on which both agree, less chance, which is 0; at most 1 (Hubert and Arabie 1985)."""
    counts = table(clusters, classes)
    together, of_clusters, of_classes = (_pairs(one) for one in (counts, counts.sum(1), counts.sum(0)))
    mean, chance = (of_clusters + of_classes) / 2, of_clusters * of_classes / max(_pairs(counts.sum()), 1.0)
    return 1.0 if mean == chance else (together - chance) / (mean - chance)


def purity(clusters: Tensor, classes: Tensor) -> float:
    """The share of rows that are of their cluster's commonest class; by chance about the commonest class's share."""
    return float(table(clusters, classes).max(1).values.sum() / len(clusters))


def _entropy(shares: Tensor) -> float:
    """In nats."""
    return float(-torch.special.xlogy(shares, shares).sum())


def _pairs(counts: Tensor) -> float:
    return float((counts * (counts - 1) / 2).sum())
