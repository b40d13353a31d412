"""Initial weights, by scheme."""

import math
from collections.abc import Callable

from torch import Tensor, nn

SCHEMES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "normal": lambda weight, std: nn.init.normal_(weight, std=std),
    "uniform": lambda weight, std: nn.init.uniform_(weight, -std * math.sqrt(3), std * math.sqrt(3)),  # the same std
    "xavier": lambda weight, std: nn.init.xavier_normal_(weight),
    "kaiming": lambda weight, std: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


def initialise(net: nn.Module, scheme: str, std: float, residual_writers: list[nn.Linear], n_layer: int) -> None:
    """Set the weights of every linear layer by `scheme` and of every embedding to N(0, `std`); biases to zero.

    `residual_writers` are scaled by 1 / sqrt(2 `n_layer`), so that the residual stream does not grow with depth
    (GPT-2; give an empty list to leave it out). Raises ValueError for an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"init={scheme}: one of {' '.join(SCHEMES)}")
    embeddings = [module.weight for module in net.modules() if isinstance(module, nn.Embedding)]
    for weight in embeddings:
        nn.init.normal_(weight, std=std)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            if not any(module.weight is weight for weight in embeddings):  # a tied head is an embedding
                SCHEMES[scheme](module.weight, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in residual_writers:
        module.weight.data.mul_(1 / math.sqrt(2 * n_layer))
