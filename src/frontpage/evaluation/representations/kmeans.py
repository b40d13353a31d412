"""k-means in torch: Lloyd's iterations from k-means++ starts (Arthur and Vassilvitskii 2007)."""

import torch
from torch import Tensor

from frontpage.evaluation.representations.vectors import DegenerateVectors, checked

ITERATIONS = 100  # at most


def kmeans(vectors: Tensor, count: int, *, restarts: int = 10, seed: int = 0) -> Tensor:
    """The cluster (n,) of each of the vectors (n, C), 0 to `count` - 1: of `restarts` the one with the least spread.

    Every call with the same seed gives the same. Raises DegenerateVectors for fewer rows than clusters.
    """
    rows = checked(vectors, least=count)
    if count < 1:
        raise DegenerateVectors(f"{count} clusters: at least 1 is needed")
    generator = torch.Generator().manual_seed(seed)
    found = [_lloyd(rows, _start(rows, count, generator)) for _ in range(restarts)]
    return min(found, key=lambda one: one[1])[0]


def _start(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres (count, C): the first any row, each next one by its squared distance to those before."""
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    while len(chosen) < count:
        squares = _squares(rows, rows[chosen]).min(1).values
        weights = squares if float(squares.sum()) > 0 else torch.ones_like(squares)  # all rows are centres already
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return rows[chosen].clone()


def _lloyd(rows: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    """(clusters (n,), the sum of the squared distances to their centres)."""
    clusters = torch.full((len(rows),), -1)
    for _ in range(ITERATIONS):
        squares = _squares(rows, centres)
        nearest = squares.argmin(1)
        if bool((nearest == clusters).all()):
            break
        clusters = nearest
        for one in range(len(centres)):
            own = rows[clusters == one]
            # A cluster that has lost all rows goes on from the row that is farthest from its centre.
            centres[one] = own.mean(0) if len(own) else rows[squares.min(1).values.argmax()]
    return clusters, float(_squares(rows, centres).gather(1, clusters[:, None]).sum())


def _squares(rows: Tensor, centres: Tensor) -> Tensor:
    """Squared distances (n, count); by differences, since a sum of products would round near ones."""
    return torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
