"""What is computed in another way on CPU than on a GPU asks here, so that a GPU's memory can be counted without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_as_on_card = ContextVar("as_on_card", default=False)


@contextmanager
def as_on_card() -> Iterator[None]:
    """Compute on CPU as a GPU does, without the detours that pay on CPU only."""
    before = _as_on_card.set(True)
    try:
        yield
    finally:
        _as_on_card.reset(before)


def on_cpu(x: Tensor) -> bool:
    """Whether a tensor is on the CPU, and is to be computed as there."""
    return x.device.type == "cpu" and not _as_on_card.get()
