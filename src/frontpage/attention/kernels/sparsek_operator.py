"""The SparseK operator (Lou et al. 2024, arXiv 2406.16747): a differentiable top-k, here for all prefixes at once.

    SparseK(s, k) = argmin_p |p - s|^2  with  0 <= p <= 1  and  sum p = k,  or p = 1 where there are at most k scores

Its solution is p = clip(s - threshold, 0, 1). A query's candidates are a range of tokens, `first` to `last`: the
tokens of its document up to its window. S counts tokens, Q queries; `first` and `last` are (1 or B, Q).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.attention.parts.documents import places_in_documents


def sparsek(scores: Tensor, k: int) -> Tensor:
    """The operator on vectors: scores (..., S) -> gates (..., S), with the gradient of their closed form.

    >>> sparsek(torch.tensor([1.6, -2.0, 0.2, 1.0, 0.6]), k=3)
    tensor([1.0000, 0.0000, 0.3000, 1.0000, 0.7000])
    """
    rows = scores.reshape(-1, scores.shape[-1])
    first = torch.zeros(1, 1, dtype=torch.int64, device=scores.device)
    last = first + scores.shape[-1] - 1
    return Gates.apply(rows, Ranking(rows, first, last).thresholds(k), first, last).view_as(scores)


def causal_sparsek(
    scores: Tensor, k: int, window: int = 0, document_ids: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gates and the choice of every query: scores (B, T) -> gates (B, T, T), top k (B, T, T) of booleans.

    The candidates of query t are the tokens of its document up to t - `window`. The gates have a gradient.
    """
    first, last = candidate_ranges(scores.shape[1], window, document_ids, scores.device)
    ranking = Ranking(scores, first, last)
    return Gates.apply(scores, ranking.thresholds(k), first, last), ranking.top(k)


def candidate_ranges(
    length: int, window: int, document_ids: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The first (1 or B, length) and the last (1, length) candidate of each query; none where the last comes first."""
    query = torch.arange(length, device=device)[None]
    first = torch.zeros_like(query) if document_ids is None else query - places_in_documents(document_ids)
    return first, query - window


def inside(tokens: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """(B, Q, S), True where one of the tokens (1 or B, S) is a candidate of the query."""
    tokens = tokens[:, None].int()  # half the bytes to compare
    return (tokens >= first[..., None].int()) & (tokens <= last[..., None].int())


class Ranking:
    """Tokens in the order of their scores (B, S), newer first among equals, and how the queries' candidates lie in it.

    One order serves all queries: counting only a query's own candidates makes the order of all tokens causal. `count`
    (B, Q, S + 1) is the number of a query's candidates among the first r tokens of the order. Without a gradient. Masks
    are applied by multiplying: on CPU torch.where takes four times as long.
    """

    def __init__(self, scores: Tensor, first: Tensor, last: Tensor) -> None:
        scores = scores.detach()
        tokens = torch.arange(scores.shape[1], device=scores.device)[None]
        newest_first, order = scores.flip(1).sort(dim=1, descending=True, stable=True)
        order = scores.shape[1] - 1 - order
        self.scores, self.candidates = scores, inside(tokens, first, last)
        self.place = torch.empty_like(order).scatter_(1, order, tokens.expand_as(order))  # (B, S), of a token
        self.ordered = F.pad(newest_first, (1, 0))  # (B, S + 1); column r is the r-th largest, none is the 0-th
        self.member = inside(F.pad(order, (1, 0), value=-1), first, last)
        self.count = self.member.cumsum(-1, dtype=torch.int32)

    def top(self, k: int) -> Tensor:
        """(B, Q, S), True for the k candidates of the largest scores, or for all if there are no more than k."""
        return self.candidates & (self.place[:, None].int() + 1 < self._column(k + 1)[..., None].int())

    def thresholds(self, k: int) -> Tensor:
        """(B, Q): what to subtract from the scores; -inf where there are no more than k candidates."""
        piece = self._piece(k)
        worst_in = self._at(self.ordered, self._column(k))  # the k-th largest score, and the one after it
        best_out = self._at(self.ordered, self._column(k + 1))
        above = (self.scores[:, None] > piece[..., None]) & self.candidates
        saturated = (self.scores[:, None] - 1 > piece[..., None]) & self.candidates
        interior = (above ^ saturated).to(self.scores.dtype)
        # Counted from the k-th score: it is within 1 of the threshold, and unlike the piece depends on no later token.
        excess = (self.scores[:, None] - worst_in[..., None]).mul_(interior).sum(-1)
        threshold = worst_in + (excess + saturated.sum(-1, dtype=torch.int32) - k) / interior.sum(-1).clamp_(min=1)
        # With a step of 1 or more after the k-th score, the k largest have gate 1 and any threshold between will do.
        threshold = torch.where(worst_in - best_out >= 1, (worst_in - 1 + best_out) / 2, threshold)
        return torch.where(self.count[..., -1] > k, threshold, -torch.inf)

    def _piece(self, k: int) -> Tensor:
        """(B, Q): the largest breakpoint at which gates still sum to `k`; the threshold lies between it and the next.

        The sum of clip(s - b, 0, 1) over a query's candidates falls with b and is linear between the breakpoints s and
        s - 1. Those of all tokens are searched for all queries at once, in as many steps as their number has bits.
        """
        rising = self.ordered[:, 1:].flip(1).contiguous()
        breakpoints = torch.cat((rising, rising - 1), dim=1).sort(dim=1).values  # (B, 2 S)
        length = self.scores.shape[1]
        above = length - torch.searchsorted(rising, breakpoints, right=True)  # how many scores exceed a breakpoint,
        saturated = length - torch.searchsorted(rising - 1, breakpoints)  # and how many by 1 or more
        total = self.member.to(rising.dtype).mul_(self.ordered[:, None]).cumsum(-1)  # sums, where `count` has counts
        low = torch.zeros_like(self.count[..., 0], dtype=torch.int64)
        high = low + 2 * length - 1
        for _ in range((2 * length - 1).bit_length()):
            middle = (low + high + 1) // 2
            b, outer, inner = (self._at(of, middle) for of in (breakpoints, above, saturated))
            full = self._at(self.count, inner)
            partial = self._at(self.count, outer) - full
            enough = self._at(total, outer) - self._at(total, inner) - b * partial + full >= k
            low, high = torch.where(enough, middle, low), torch.where(enough, high, middle - 1)
        return self._at(breakpoints, low)

    def _column(self, number: int) -> Tensor:
        """(B, Q): how far down the order a query finds `number` candidates; S + 1 where it has fewer."""
        wanted = torch.full_like(self.count[..., :1], number)
        return torch.searchsorted(self.count, wanted).squeeze(-1)

    @staticmethod
    def _at(table: Tensor, column: Tensor) -> Tensor:
        """(B, Q): a column of the table (B, columns) or (B, Q, columns) for each query."""
        column = column.clamp(max=table.shape[-1] - 1)
        return table.gather(1, column) if table.dim() == 2 else table.gather(2, column[..., None]).squeeze(-1)


def between(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(B, S), (B, Q) -> (B, Q, S), True where a gate is strictly between 0 and 1.

    A threshold that equals a score is a sum and may miss it by its rounding, which is no gate.
    """
    none = 8 * torch.finfo(scores.dtype).eps * scores.abs().clamp(min=1)[:, None]
    gate = scores[:, None] - thresholds[..., None]
    return (gate > none) & (gate < 1 - none)


class Gates(torch.autograd.Function):
    """clip(scores - threshold, 0, 1) of a query's candidates, 0 for others, with the threshold's own gradient.

    The Jacobian of a query is Diag(i) - i i^T / |i|, where i marks the gates strictly between 0 and 1. What is saved
    for the backward pass is (B, S) and (B, Q), not (B, Q, S).
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, thresholds: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """scores (B, S), thresholds (B, Q), the range of candidates -> gates (B, Q, S)."""
        ctx.save_for_backward(scores, thresholds, first, last)
        return (scores[:, None] - thresholds[..., None]).clamp_(0, 1).mul_(_inside_scores(scores, first, last))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """(B, Q, S) -> (B, S): what reaches the interior gates, less its mean over them."""
        scores, thresholds, first, last = ctx.saved_tensors
        interior = (between(scores, thresholds) & _inside_scores(scores, first, last)).to(scores.dtype)
        gradient = upstream * interior
        mean = gradient.sum(-1, keepdim=True) / interior.sum(-1, keepdim=True).clamp_(min=1)
        return gradient.addcmul_(interior, mean, value=-1).sum(1), None, None, None


def _inside_scores(scores: Tensor, first: Tensor, last: Tensor) -> Tensor:
    return inside(torch.arange(scores.shape[1], device=scores.device)[None], first, last)
