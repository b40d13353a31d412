"""What a net's weights, their gradients and the optimizer's state really take: counted from the tensors that live."""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from frontpage.recipe.plain_tensors import bytes_of, plain_parts


class StaticBytes(NamedTuple):
    """Bytes that do not depend on the batch."""

    weights: float
    gradients: float
    optimizer: float

    def a_parameter(self, parameters: int) -> "StaticBytes":
        """The same for each of so many parameters."""
        return StaticBytes(*(size / parameters for size in self))

    def __str__(self) -> str:
        each = ", ".join(f"{name} {size:.3g}" for name, size in self._asdict().items())
        return f"{sum(self):.4g} bytes a parameter ({each})"


def live_bytes(net: nn.Module, optimizer: Optimizer) -> StaticBytes:
    """Bytes of the weights of `net`, tied ones once, of their gradients, and of `optimizer`'s state, shared parts once.

    After an update all of them live. Single numbers, such as counts of updates, are left out.
    """
    weights = list(net.parameters())
    gradients = [weight.grad for weight in weights]
    state = [value for states in optimizer.state.values() for value in states.values()]
    return StaticBytes(*(sum(map(bytes_of, _parts(values))) for values in (weights, gradients, state)))


def _parts(values: list[Any]) -> list[Tensor]:
    """The plain parts of several values, each once, without single numbers."""
    found = {id(part): part for value in values for part in plain_parts(value)}
    return [part for part in found.values() if part.numel() > 1]
