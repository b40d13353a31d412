"""Nets whose weights are spread over processes (FSDP2): spread, and for a while whole again in every process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from frontpage.recipe.parameter_groups import keep_fused_rows
from frontpage.recipe.sharded_tensors import is_sharded

ENTRIES = ("hidden", "layer_states")  # methods beside `forward` that begin with the net's own weights


def shard(net: nn.Module, mesh: DeviceMesh) -> set[str]:
    """Leave each process of a mesh its rows of every weight; the names of single numbers, now weights of one row.

    A block's weights are gathered when it computes, in the forward and in the backward pass, and those outside the
    blocks from the forward pass until the backward pass is over: heads are read between the two. All processes have to
    begin with the same weights.
    """
    numbers = {name for name, weight in net.named_parameters() if weight.ndim == 0}
    for name in numbers:
        place, _, last = name.rpartition(".")
        number = net.get_parameter(name)
        setattr(net.get_submodule(place), last, nn.Parameter(number.detach().reshape(1), number.requires_grad))
    keep_fused_rows(net)
    for block in net.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh, reshard_after_forward=False)
    _let_in(net)
    return numbers


def _let_in(net: nn.Module) -> None:
    """Let ENTRIES gather what `forward` gathers, unless it is `forward` that calls one: the inner one would scatter."""
    depth = 0

    def enter(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    net.register_forward_pre_hook(enter, prepend=True)
    net.register_forward_hook(leave, always_call=True)
    for name in ENTRIES:
        plain = getattr(net, name)
        register_fsdp_forward_method(net, name)
        whole = getattr(net, name)

        def entry(*args: Any, _plain: Any = plain, _whole: Any = whole, **settings: Any) -> Any:
            return (_plain if depth else _whole)(*args, **settings)

        setattr(net, name, entry)


def is_gathered(net: nn.Module) -> bool:
    """Whether every process can compute with a net by itself, as with one that was never sharded."""
    return not any(is_sharded(weight) for weight in net.parameters())


def gather(net: nn.Module) -> None:
    """Give every process all weights of a net, until `scatter`; a collective."""
    for module in _sharded_modules(net):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()


def scatter(net: nn.Module) -> None:
    """Leave each process its rows again; no collective, and nothing for a net that has no more."""
    for module in _sharded_modules(net):
        module.reshard()
        module.set_reshard_after_forward(module is not net, recurse=False)


@contextmanager
def gathered(net: nn.Module) -> Iterator[None]:
    """Inside, every process can compute with a net by itself; to enter it is a collective where the net is sharded."""
    before = is_gathered(net)
    if not before:
        gather(net)
    try:
        yield
    finally:
        if not before:
            scatter(net)


def broadcast_buffers(net: nn.Module) -> None:
    """Give all processes the buffers of the first, such as running means; a collective."""
    for buffer in net.buffers():
        torch.distributed.broadcast(buffer, 0)


def _sharded_modules(net: nn.Module) -> list[FSDPModule]:
    return [module for module in net.modules() if isinstance(module, FSDPModule)]
