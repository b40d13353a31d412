"""Which computation runs: what was asked for, or the fastest that can."""

from typing import ClassVar

import torch


class Routed:
    """Has `backends`, all of which give the same; `backend`, `auto` or one of them, is asked for."""

    backends: ClassVar[tuple[str, ...]]
    backend: str

    def route(self, length: int, device: torch.device, *, documents: bool = False, training: bool = True) -> str:
        """The backend that computes `length` tokens there; ValueError where the one that was asked for cannot.

        `documents`: with several documents a row. `training`: with a gradient.
        """
        context = {"device": device, "documents": documents, "training": training}
        if self.backend == "auto":
            return self.fastest(length, **context)
        why_not = self.refusal(self.backend, **context)
        if why_not:
            others = [name for name in self.backends if not self.refusal(name, **context)]
            raise ValueError(f"backend={self.backend}: {why_not}; allowed here: auto {' '.join(others)}")
        return self.backend

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """What `auto` takes, one of those that are not refused."""
        return next(name for name in self.backends if not self.refusal(name, device, documents, training))

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """What keeps a backend from computing this, or None."""
        return None
