"""Which parameters decay, which are matrices inside the net, which rows of one belong together; rates and batches."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

MATRICES, OTHERS = "matrices", "others"
FUSED_ROWS = "fused_rows_by_name"  # what `keep_fused_rows` calls the attribute
# What the peak rate is multiplied by where an update sees `ratio` times the rows that it is meant for.
LR_SCALINGS: dict[str, Callable[[float], float]] = {
    "none": lambda ratio: 1.0,
    "sqrt": math.sqrt,  # for Adam and its kin: Malladi et al. 2022, arXiv 2205.10287
    "linear": lambda ratio: ratio,  # for SGD: Goyal et al. 2017, arXiv 1706.02677
}


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices of linear layers decay; embeddings (a tied head with them), norms, biases do not.

    They are named `matrices` (inside the trunk: what Muon takes), `head` (of all heads that are not tied) and
    `others`; the learning rate is logged under the name. A tied weight appears once. What decays is so
    built; a run may change it (`WeightDecay`).
    """
    embeddings = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    linear = {id(module.weight) for module in net.modules() if isinstance(module, nn.Linear)} - embeddings
    head = {id(weight) for one in net.heads.values() for weight in one.parameters()} & linear
    chosen = {MATRICES: linear - head, "head": head}
    groups = [
        {"name": name, "params": [w for w in net.parameters() if id(w) in wanted], "weight_decay": weight_decay}
        for name, wanted in chosen.items()
        if wanted
    ]
    others = [weight for weight in net.parameters() if id(weight) not in linear]
    return [*groups, {"name": OTHERS, "params": others, "weight_decay": 0.0}]


def weight_decay_of(make_optimizer: Callable[..., Optimizer]) -> float:
    """The `weight_decay` that an optimizer's factory was configured with; 0 where it has none."""
    return getattr(make_optimizer, "keywords", {}).get("weight_decay", 0.0)


def optimizer_of(net: nn.Module, make_optimizer: Callable[..., Optimizer]) -> Optimizer:
    """The optimizer over the decay groups of `net`; ValueError for what its constructor refuses."""
    optimizer = make_optimizer(decay_groups(net, weight_decay_of(make_optimizer)))
    if getattr(optimizer, "split_fused", False):
        optimizer.fused_rows = fused_rows(net)
    return optimizer


def fused_rows(net: nn.Module) -> dict[Tensor, tuple[int, ...]]:
    """The rows of each part of a weight that holds several matrices one below the other, by that weight.

    Attentions and MLPs say of their parts what is what (`matrices`): queries, keys and values; gate and up. A net that
    was sharded has kept it from before.
    """
    if hasattr(net, FUSED_ROWS):
        return {net.get_parameter(name): rows for name, rows in getattr(net, FUSED_ROWS).items()}
    found: dict[Tensor, dict[int, int]] = {}
    for module in net.modules():
        for part in module.matrices().values() if hasattr(module, "matrices") else ():
            if part._base is not None:
                found.setdefault(part._base, {})[part.storage_offset()] = len(part)
    return {weight: tuple(rows for _, rows in sorted(parts.items())) for weight, parts in found.items()}


def keep_fused_rows(net: nn.Module) -> None:
    """Let a net keep its `fused_rows`, before its weights are sharded: none of the parts is a view of one then."""
    names = {id(weight): name for name, weight in net.named_parameters()}
    setattr(net, FUSED_ROWS, {names[id(weight)]: rows for weight, rows in fused_rows(net).items()})
