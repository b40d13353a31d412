"""What is computed in another way on CPU than on a GPU asks here, so that a GPU's memory can be counted without one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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


def on_cpu(device: torch.device) -> bool:
    """Whether this is the CPU, and what is on it is to be computed as there."""
    return device.type == "cpu" and not _as_on_card
