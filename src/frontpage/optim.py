"""Which parameters decay."""

from typing import Any

from torch import nn


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices of linear layers decay; embeddings (a tied head with them), norms, biases do not.

    A tied weight appears once. Each group has a `name`, and the learning rate is logged under it.
    """
    embeddings = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    matrices = {
        id(module.weight)
        for module in net.modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in embeddings
    }
    decayed = [parameter for parameter in net.parameters() if id(parameter) in matrices]
    others = [parameter for parameter in net.parameters() if id(parameter) not in matrices]
    return [
        {"name": "matrices", "params": decayed, "weight_decay": weight_decay},
        {"name": "others", "params": others, "weight_decay": 0.0},
    ]
