"""Tensors of which each process has some rows (DTensor), and plain ones beside them: parts, wholes, norms.

What is called a collective has to be called by every process, in the same order.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from frontpage.recipe.plain_tensors import as_numbers


def is_sharded(tensor: Any) -> bool:
    """Whether this process has some rows of a tensor only."""
    return isinstance(tensor, DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """The rows that this process has, sharing their memory; a plain tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All rows, as a plain tensor; a collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def collected(state: Mapping[str, Any], keep: bool) -> dict[str, Any]:
    """A nested state with whole tensors on the CPU where `keep`, empty elsewhere; a collective.

    One in which nothing is sharded stays as it is.
    """
    leaves, form = tree_flatten(state)
    if not any(is_sharded(leaf) for leaf in leaves):
        return state
    found = []
    for leaf in leaves:  # one after another: a process that keeps none needs room for one
        gathered = whole(leaf.detach()) if is_sharded(leaf) else leaf
        found.append(gathered.cpu() if keep and is_sharded(leaf) else gathered if keep else None)
    return tree_unflatten(found, form) if keep else {}


def placed_like(tensor: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor, which every process has, as `weight` lies: on its device, of a sharded one the own rows."""
    tensor = tensor.to(weight.device)
    if not isinstance(weight, DTensor) or isinstance(tensor, DTensor):
        return tensor
    shaped = tensor.reshape(weight.shape)
    return distribute_tensor(shaped, weight.device_mesh, weight.placements, src_data_rank=None)


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of all numbers together, quantised ones as what they stand for; a collective where one is sharded."""
    listed = [tensor.detach() for tensor in tensors]
    sharded = [tensor for tensor in listed if isinstance(tensor, DTensor)]
    rest = [as_numbers(tensor) for tensor in listed if not isinstance(tensor, DTensor)]
    if not sharded:
        return torch.nn.utils.get_total_norm(rest)
    square = torch.nn.utils.get_total_norm([own_part(tensor) for tensor in sharded]).square()
    dist.all_reduce(square, group=sharded[0].device_mesh.get_group())
    return (square + torch.nn.utils.get_total_norm(rest).square().to(square.device)).sqrt()


def clip_gradients(weights: Iterable[Tensor], limit: float) -> Tensor:
    """Scale gradients down to a global norm of `limit`; the norm that they had. A collective where one is sharded."""
    weights = list(weights)
    if not any(is_sharded(weight) for weight in weights):
        return torch.nn.utils.clip_grad_norm_(weights, limit)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = total_norm(gradients)
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_ has it
    for gradient in gradients:
        own_part(gradient).mul_(factor)
    return norm
