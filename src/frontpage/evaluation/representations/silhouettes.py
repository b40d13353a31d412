"""How much nearer texts lie to their own class than to the next one (Rousseeuw 1987), by cosine."""

from typing import NamedTuple

import torch
from torch import Tensor

from frontpage.evaluation.representations.vectors import DegenerateVectors, checked_labels, unit_rows


class Silhouettes(NamedTuple):
    """Means over rows, each from -1 to 1."""

    mean: float
    of_classes: list[float]  # of each class, in the order of the labels
    permuted: float  # the mean, over permutations of the labels: what these vectors give any labels
    z: float  # by how many standard deviations of the permutations the mean is above `permuted`; NaN where they agree


def silhouettes(vectors: Tensor, labels: Tensor, *, permutations: int = 10, seed: int = 0) -> Silhouettes:
    """Of vectors (n, C) with labels (n,): the mean of (b - a) / max(a, b), beside `permutations` of the labels.

    a is the mean cosine distance to the others of the own class, b the smallest one to another class. A row that is
    alone in its class has 0, and so has one that is at no distance from all. Raises DegenerateVectors for fewer than
    two classes, and for a row of zeros.
    """
    distances, classes = _checked(vectors, labels)
    values = _values(distances, classes)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(classes), generator=generator) for _ in range(permutations)]
    chance = torch.stack([_values(distances, classes[order]).mean() for order in orders])
    spread = float(chance.std())
    z = float(values.mean() - chance.mean()) / spread if spread > 1e-12 else float("nan")
    of_classes = [float(values[classes == one].mean()) for one in range(int(classes.max()) + 1)]
    return Silhouettes(float(values.mean()), of_classes, float(chance.mean()), z)


def silhouette(x: Tensor, labels: Tensor) -> float:
    """The mean alone, from -1 to 1 (apart), of vectors (n, C) with labels (n,); raises DegenerateVectors."""
    distances, classes = _checked(x, labels)
    return float(_values(distances, classes).mean())


def _checked(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(cosine distances (n, n), classes (n,) from 0)."""
    rows = unit_rows(vectors)
    classes = checked_labels(labels, len(rows))
    if classes.numel() == 0 or int(classes.max()) == 0:
        raise DegenerateVectors("labels of one class: at least 2 are needed")
    return (1 - rows @ rows.mT).clamp(min=0).fill_diagonal_(0), classes


def _values(distances: Tensor, classes: Tensor) -> Tensor:
    """The silhouette of each row (n,), from all distances (n, n)."""
    members = torch.nn.functional.one_hot(classes).double()  # (n, K)
    sizes, sums = members.sum(0), distances @ members
    own = classes[:, None]
    alone = sizes[classes] == 1
    a = sums.gather(1, own)[:, 0] / (sizes[classes] - 1).clamp(min=1)
    b = (sums / sizes).scatter(1, own, float("inf")).min(1).values
    largest = torch.maximum(a, b)
    return torch.where(alone | (largest == 0), 0.0, (b - a) / largest.clamp(min=torch.finfo(torch.float64).tiny))
