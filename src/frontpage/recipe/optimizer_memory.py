"""What an optimizer keeps of a net's weights, and what its update takes besides, in bytes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from frontpage.recipe.parameter_groups import decay_groups, weight_decay_of
from frontpage.recipe.plain_tensors import bytes_of, plain_parts

SMALL_WEIGHT = 4096  # numbers: 8-bit optimizers keep 32 bits for a weight with fewer


def optimizer_bytes(
    net: nn.Module, make_optimizer: Callable[..., Optimizer], dtype: torch.dtype = torch.float32
) -> int:
    """Bytes of the optimizer's state for weights of `dtype`, by one update of stand-ins of `net`'s weights."""
    groups = decay_groups(net, weight_decay_of(make_optimizer))
    optimizer, stand_ins = _with_stand_ins(make_optimizer, groups, dtype)
    for weights in stand_ins.values():
        for weight in weights:
            weight.grad = torch.ones_like(weight)
    optimizer.step()
    held = Counter(
        id(part) for state in optimizer.state.values() for one in state.values() for part in plain_parts(one)
    )

    def bytes_a_weight(stand_in: nn.Parameter) -> float:
        tensors = [part for value in optimizer.state[stand_in].values() for part in plain_parts(value)]
        own = [tensor for tensor in tensors if tensor.numel() > 1 and held[id(tensor)] == 1]
        return sum(map(bytes_of, own)) / stand_in.numel()

    total = 0.0
    for group in groups:
        small, large = map(bytes_a_weight, stand_ins[group["name"]])
        sizes = [weight.numel() for weight in group["params"]]
        total += sum(size * (small if size < SMALL_WEIGHT else large) for size in sizes)
    return int(total)


def update_bytes(net: nn.Module, make_optimizer: Callable[..., Optimizer], size: int, on_cuda: bool) -> int:
    """Temporaries of an update: none of a fused group, all weights at once of a `foreach` one on CUDA, else two of one.

    Of optimizers that PyTorch does not have none works on all weights at once.
    """
    groups = decay_groups(net, weight_decay_of(make_optimizer))
    optimizer, _ = _with_stand_ins(make_optimizer, groups, torch.float32)
    at_once, one_by_one = [0], [0]
    for group, settings in zip(groups, optimizer.param_groups, strict=True):
        sizes = [weight.numel() for weight in group["params"]]
        if on_cuda and "foreach" in settings and not settings.get("fused"):
            at_once += sizes
        elif not settings.get("fused"):
            one_by_one += sizes
    return size * max(sum(at_once), 2 * max(one_by_one))


def _with_stand_ins(
    make_optimizer: Callable[..., Optimizer], groups: list[dict[str, Any]], dtype: torch.dtype
) -> tuple[Optimizer, dict[str, list[nn.Parameter]]]:
    """An optimizer, and its weights by group: a small one and a large one in place of all of the group's."""
    sizes = (SMALL_WEIGHT // 128, 64), (2 * SMALL_WEIGHT // 128, 128)
    stand_ins = {group["name"]: [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in sizes] for group in groups}
    optimizer = make_optimizer([{**group, "params": list(stand_ins[group["name"]])} for group in groups])
    return of_stand_ins(optimizer), stand_ins


def of_stand_ins(optimizer: Optimizer) -> Optimizer:
    """An optimizer whose updates are for their sizes alone: Muon multiplies once, and asks no device for its type."""
    for group in optimizer.param_groups:
        if "ns_steps" in group:
            group["ns_steps"], group["iteration"] = 1, "float32"
    return optimizer
