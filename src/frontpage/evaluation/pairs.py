"""Metrics of judgements about texts: accuracy, area under the curve, ranks in a pool; each with its standard error."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc


def share_with_error(right: Tensor) -> tuple[float, float]:
    """(the share of `right` (N,), bool or parts of 1, its standard error)."""
    right = right.double()
    return float(right.mean()), math.sqrt(float(right.var(correction=0)) / len(right))


def mean_with_error(values: Tensor) -> tuple[float, float]:
    """(the mean of `values` (N,), its standard error); that of one value is NaN."""
    values = values.double()
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return float(values.mean()), error


def auroc_with_error(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """(area under the ROC curve of `scores` (N,) for `labels` (N,) bool, its standard error).

    The error is that of DeLong et al. 1988: each positive has the share of negatives below it, each negative the share
    of positives above it, and the variances of both add up. NaN where a class has fewer than two members.
    """
    scores, labels = scores.double(), labels.bool()
    positive, negative = scores[labels], scores[~labels]
    if len(positive) < 2 or len(negative) < 2:
        return math.nan, math.nan
    # A sigmoid inside torchmetrics would make ties of large scores: ranks are all that counts.
    ranks = torch.unique(scores, return_inverse=True)[1].double()
    area = float(binary_auroc(ranks / (ranks.max() + 1), labels.long()))
    above, below = _shares_below(positive, negative), 1 - _shares_below(negative, positive)
    variance = float(above.var() / len(positive) + below.var() / len(negative))
    return area, math.sqrt(variance)


def _shares_below(of: Tensor, others: Tensor) -> Tensor:
    """Of each number the share of `others` below it, equal ones counted half."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, of, right=False) + torch.searchsorted(ordered, of, right=True)
    return below.double() / (2 * len(others))


class Ranks(NamedTuple):
    """Of each query's target (Q,): how many candidates are nearer, and how many as near."""

    nearer: Tensor
    equal: Tensor

    def reciprocal(self) -> Tensor:
        """1 / rank (Q,), its mean over the orders of those that are as near."""
        found = [
            sum(1 / rank for rank in range(nearer + 1, nearer + equal + 2)) / (equal + 1)
            for nearer, equal in zip(self.nearer.tolist(), self.equal.tolist(), strict=True)
        ]
        return torch.tensor(found, dtype=torch.float64)

    def recall(self, k: int) -> Tensor:
        """The share (Q,) of these orders in which the target is among the first `k`."""
        return ((k - self.nearer) / (self.equal + 1)).clamp(0, 1)


def ranks_in_pool(queries: Tensor, pool: Tensor, targets: Tensor, allowed: Tensor) -> Ranks:
    """How each query's target stands among the candidates that it may have, by cosine.

    `queries` (Q, C), `pool` (P, C), `targets` (Q,) indices into the pool, `allowed` (Q, P) bool. Candidates that are
    as near as the target come before it or behind it by chance, so a model which gives all the same answer is at
    chance.
    """
    near = (
        torch.nn.functional.normalize(queries.double(), dim=-1)
        @ torch.nn.functional.normalize(pool.double(), dim=-1).mT
    )
    own = near.gather(1, targets[:, None])
    others = allowed.clone()
    others.scatter_(1, targets[:, None], False)
    nearer = ((near > own + 1e-12) & others).sum(1)
    equal = ((near - own).abs() <= 1e-12) & others
    return Ranks(nearer, equal.sum(1))


def chance_of_ranks(candidates: Tensor, k: int) -> tuple[float, float]:
    """(mean reciprocal rank, recall at k) of guessing, for numbers of `candidates` (Q,), the target among them."""
    sizes = candidates.tolist()
    reciprocal = sum(sum(1 / rank for rank in range(1, int(n) + 1)) / n for n in sizes) / len(sizes)
    return reciprocal, sum(min(k / n, 1.0) for n in sizes) / len(sizes)
