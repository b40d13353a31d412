"""What the queries of a pattern see, as ranges of keys; so that a kernel need not pass over all other pairs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frontpage.attention.fixed import Fixed
from frontpage.attention.local import Local
from frontpage.attention.parts.pattern import Pattern
from frontpage.attention.sliding_window import SlidingWindow
from frontpage.attention.strided import Strided


class Runs(NamedTuple):
    """Ranges of places inside the document: all keys from `near` to the query's own, and `count` runs before.

    A run is `length` tokens long; the first one begins at `first`, each of the next ones `period` tokens later, which
    is at least as much. The tensors have the shape of the queries' places.
    """

    near: Tensor
    first: Tensor
    count: Tensor
    length: int = 1
    period: int = 1


def _local(pattern: Local, place: Tensor) -> Runs:
    none = torch.zeros_like(place)
    return Runs((place - pattern.window + 1).clamp(min=0), none, none)


def _strided(pattern: Strided, place: Tensor) -> Runs:
    return Runs(place, place % pattern.stride, place // pattern.stride, period=pattern.stride)


def _fixed(pattern: Fixed, place: Tensor) -> Runs:
    """The own block, and the summary of each before."""
    blocks = place // pattern.block
    begin = torch.full_like(place, pattern.block - pattern.offset - pattern.summary)
    return Runs(blocks * pattern.block, begin, blocks, pattern.summary, pattern.block)


def _sliding_window(pattern: SlidingWindow, place: Tensor) -> Runs:
    """The window, with the sinks where these touch it, else the sinks as a run."""
    near = (place - pattern.window + 1).clamp(min=0)
    apart = near > pattern.sinks
    near, count = torch.where(apart, near, 0), apart.to(place.dtype)
    return Runs(near, torch.zeros_like(place), count, pattern.sinks, max(pattern.sinks, 1))


RUNS: dict[type[Pattern], Callable[[Any, Tensor], Runs]] = {
    Local: _local,
    Strided: _strided,
    Fixed: _fixed,
    SlidingWindow: _sliding_window,
}


def runs(pattern: Pattern, place: Tensor) -> Runs:
    """What queries at `place` see, of a pattern that has few ranges."""
    return RUNS[type(pattern)](pattern, place)


def has_runs(pattern: Pattern) -> bool:
    """Whether it is one of these."""
    return type(pattern) in RUNS
