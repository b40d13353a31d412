"""What SparseK lets each query see, as lists of k tokens, in O(S log k) time and O(S k) memory; sparsek_operator.py has
the operator and what both must give.

B rows, S tokens of which the queries are the last Q. `first` (1 or B, S) is the first token of each one's document; the
candidates of a query are the tokens from there up to `window` before it.
"""

import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.attention.kernels.listed_keys import ListedKeys
from frontpage.attention.kernels.sparsek_operator import Ranking, between, inside
from frontpage.attention.kernels.views import REALS
from frontpage.machine.compiler import NotCompiled, compiled

SOURCE = Path(__file__).with_name("sparsek_choice.cpp")
PAIRS_AT_ONCE = 2**22  # of a query and a token, over all rows, where nothing is compiled


class Choice(NamedTuple):
    """The first `count` (B, Q) of `chosen` (B, Q, k or S) are a query's tokens, ascending; `thresholds` (B, Q).

    A gate is clip(score - threshold, 0, 1). Whole numbers are int32.
    """

    chosen: Tensor
    count: Tensor
    thresholds: Tensor


@torch.compiler.assume_constant_result
def choice_problem() -> str | None:
    """Why nothing can be compiled for this here, or None."""
    return _problem()


@functools.cache  # failures too, which `compiled` would try again
def _problem() -> str | None:
    try:
        _library(torch.float32)
    except NotCompiled as error:
        return str(error)
    return None


def choose(scores: Tensor, first: Tensor, k: int, window: int, queries: int, *, by_kernel: bool) -> Choice:
    """The choice for scores (B, S), without a gradient; by the compiled kernel on a CPU, or by chunks of queries."""
    scores, first = scores.detach(), first.contiguous()
    return Choice(*(_chosen if by_kernel else _chosen_in_chunks)(scores.contiguous(), first, k, window, queries))


class ChosenGates(torch.autograd.Function):
    """The gates of what `choose` has chosen, (B, S, k), 0 in unused columns, with a gradient; all tokens are queries.

    The Jacobian of a query's gates, Diag(i) - i i^T / |i| over its interior tokens, reaches those that were not chosen
    too. What is saved is the choice and the scores; the gradient is computed in chunks of queries.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        first: Tensor,
        chosen: Tensor,
        count: Tensor,
        thresholds: Tensor,
        window: int,
    ) -> Tensor:
        """(B, S), and a Choice -> (B, S, k)."""
        ctx.save_for_backward(scores, first, chosen, count, thresholds)
        ctx.window = window
        return gates_of(scores, Choice(chosen, count, thresholds))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_gates: Tensor) -> tuple[Tensor | None, ...]:
        """(B, S, k) -> (B, S)."""
        return _gradient_in_chunks(*ctx.saved_tensors, d_gates, ctx.window), *[None] * 5


def gates_of(scores: Tensor, choice: Choice) -> Tensor:
    """(B, S), the choice of the last Q tokens -> (B, Q, k), without a gradient of the threshold."""
    chosen, count, thresholds = choice
    used = torch.arange(chosen.shape[2], device=scores.device) < count[..., None]
    own = scores.gather(1, chosen.flatten(1).long()).view_as(chosen)
    return (own - thresholds[..., None]).clamp_(0, 1).mul_(used)


def lists_of(choice: Choice, first: Tensor, window: int) -> ListedKeys:
    """The choice and the `window` as lists of keys."""
    tokens, queries = first.shape[1], choice.count.shape[1]
    own = torch.arange(tokens - queries, tokens, device=first.device)
    near = torch.maximum(first[:, -queries:], own - window + 1).int().expand_as(choice.count)
    return ListedKeys(near[None], choice.count[None], choice.count[None], (1,), (1,), choice.chosen)


# By the kernel.


@torch.library.custom_op("frontpage::sparsek_choice", mutates_args=(), device_types="cpu")
def _chosen(scores: Tensor, first: Tensor, k: int, window: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """scores (B, S) of float32 or float64 -> Choice."""
    made = chosen, _, _ = _made(scores, first, k, window, queries)
    _call("choose", scores, first, window, queries, k, chosen.shape[2], (scores, first, *made))
    return made


@_chosen.register_fake
def _made(scores: Tensor, first: Tensor, k: int, window: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors for what `_chosen` returns."""
    batch, tokens = scores.shape
    chosen = scores.new_empty(batch, queries, min(k, tokens), dtype=torch.int32)
    return chosen, chosen.new_empty(batch, queries), scores.new_empty(batch, queries)


@torch.library.custom_op("frontpage::sparsek_choice_backward", mutates_args=(), device_types="cpu")
def scores_gradient(
    scores: Tensor, first: Tensor, chosen: Tensor, count: Tensor, thresholds: Tensor, d_gates: Tensor, window: int
) -> Tensor:
    """The gradient of the scores (B, S) from that of the gates (B, S, k)."""
    made = torch.empty_like(scores)
    columns = chosen.shape[2]
    tensors = scores, first, chosen, count, thresholds, d_gates, made
    _call("gradient", scores, first, window, scores.shape[1], columns, columns, tensors)
    return made


@scores_gradient.register_fake
def _made_gradient(scores: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(scores)


class _Sizes(ctypes.Structure):
    names = ("rows", "tokens", "queries", "window", "k", "columns", "begins", "threads")
    _fields_ = [(name, ctypes.c_int64) for name in names]


def _call(
    name: str,
    scores: Tensor,
    first: Tensor,
    window: int,
    queries: int,
    k: int,
    columns: int,
    tensors: tuple[Tensor, ...],
) -> None:
    """Run a function of the kernel on contiguous tensors, of which the last are written to."""
    rows, tokens = scores.shape
    begins = 0 if len(first) == 1 else tokens
    sizes = _Sizes(rows, tokens, queries, window, k, columns, begins, torch.get_num_threads())
    function = getattr(_library(scores.dtype), name)
    function.restype = None
    function(*(ctypes.c_void_p(part.data_ptr()) for part in tensors), ctypes.byref(sizes))


def _library(dtype: torch.dtype) -> ctypes.CDLL:
    return compiled(SOURCE, REAL=REALS[dtype])


# By chunks of queries: as long as the whole square takes, without keeping it.


def _chosen_in_chunks(
    scores: Tensor, first: Tensor, k: int, window: int, queries: int
) -> tuple[Tensor, Tensor, Tensor]:
    parts = []
    columns = min(k, scores.shape[1])
    for begin, end in _chunks(scores, queries):
        last = torch.arange(begin, end, device=scores.device)[None] - window
        ranking = Ranking(scores[:, :end], first[:, begin:end], last)
        top = ranking.top(k)
        age = torch.arange(end, 0, -1, device=scores.device)
        oldest = (age * top).topk(min(columns, end), dim=2).values
        chosen = torch.where(oldest > 0, end - oldest, 0).int()
        parts.append((F.pad(chosen, (0, columns - chosen.shape[2])), top.sum(-1).int(), ranking.thresholds(k)))
    return tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))


def _gradient_in_chunks(
    scores: Tensor, first: Tensor, chosen: Tensor, count: Tensor, thresholds: Tensor, d_gates: Tensor, window: int
) -> Tensor:
    gradient = torch.zeros_like(scores)
    for begin, end in _chunks(scores, scores.shape[1]):
        own, token = slice(begin, end), torch.arange(end, device=scores.device)[None]
        interior = between(scores[:, :end], thresholds[:, own]) & inside(token, first[:, own], token[:, own] - window)
        used = torch.arange(chosen.shape[2], device=scores.device) < count[:, own, None]
        spread = scores.new_zeros(*interior.shape[:2], end + 1)
        spread.scatter_(2, torch.where(used, chosen[:, own].long(), end), d_gates[:, own])
        upstream = spread[..., :end] * interior
        mean = upstream.sum(-1, keepdim=True) / interior.sum(-1, keepdim=True).clamp_(min=1)
        gradient[:, :end] += (upstream - mean * interior).sum(1)
    return gradient


def _chunks(scores: Tensor, queries: int) -> Iterator[tuple[int, int]]:
    """From where to where tokens are queries that are computed together."""
    batch, tokens = scores.shape
    step = max(PAIRS_AT_ONCE // (batch * tokens), 1)
    for begin in range(tokens - queries, tokens, step):
        yield begin, min(begin + step, tokens)
