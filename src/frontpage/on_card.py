"""What is computed in another way on CPU than on a GPU asks here, so that a GPU's memory can be counted without one."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_as_on_card = False  # a plain global: torch.compile cannot trace a ContextVar


@contextmanager
def as_on_card() -> Iterator[None]:
    """Compute on CPU as a GPU does, without the detours that pay on CPU only."""
    global _as_on_card
    before, _as_on_card = _as_on_card, True
    try:
        yield
    finally:
        _as_on_card = before


def on_cpu(x: Tensor) -> bool:
    """Whether a tensor is on the CPU, and is to be computed as there."""
    return x.device.type == "cpu" and not _as_on_card
