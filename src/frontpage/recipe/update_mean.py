"""UpdateMean: a mean over the targets of an update, of which each micro-batch tells its own."""

from collections.abc import Callable

import torch
from torch import Tensor


class UpdateMean:
    """The micro-batches of an update so far: the mean of each, and its share of the update's targets."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, float]] = []

    def after(self, mean: Tensor, share: float) -> Tensor:
        """The mean over all of them with this one."""
        self._parts.append((mean, share))
        if len(self._parts) == 1:
            return mean
        whole = sum(part for _, part in self._parts)
        return sum(value * part for value, part in self._parts) / max(whole, 1e-9)

    def joined(self, summed: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean over those of all processes; `summed` adds a tensor up over them, and each process calls it."""
        losses = sum(value.double() * part for value, part in self._parts)
        shares = losses.new_full((), sum(part for _, part in self._parts))
        total, whole = summed(torch.stack([losses, shares]))
        return (total / whole.clamp(min=1e-9)).to(self._parts[0][0].dtype)
