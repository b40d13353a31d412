"""A quantised net as plain tensors, integers of 4 bits two in a byte, and back."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

INTEGERS, SCALE = ".integers", ".scale"  # behind the name of a weight


def plain_state(net: nn.Module, bits: int) -> dict[str, Tensor]:
    """The state of a net whose weights may be torchao's symmetric integers: of these the integers and their factors.

    A head that is the embedding is left out.
    """
    found: dict[str, Tensor] = {}
    for name, weight in net.state_dict().items():
        if is_traceable_wrapper_subclass(weight):
            found[name + INTEGERS] = packed(weight.qdata) if bits == 4 else weight.qdata.contiguous()
            found[name + SCALE] = weight.scale.contiguous()
        else:
            found[name] = weight.contiguous()
    if net.head.weight is net.token_embedding.weight:
        del found["head.weight"]
    return found


def load_plain_state(net: nn.Module, state: dict[str, Tensor], bits: int) -> None:
    """Put what `plain_state` gave into a net that is quantised in the same way; ValueError where it does not fit."""
    expected = plain_state(net, bits)
    wrong = [name for name in {*expected} ^ {*state}]
    wrong += [name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape]
    if wrong:
        raise ValueError(f"{sorted(wrong)[0]} does not fit this model")
    with torch.no_grad():
        for name, weight in net.state_dict().items():
            if is_traceable_wrapper_subclass(weight):
                integers = state[name + INTEGERS]
                weight.qdata.copy_(unpacked(integers, weight.qdata.shape) if bits == 4 else integers)
                weight.scale.copy_(state[name + SCALE])
    others = {name: state[name] for name in net.state_dict() if name in state}
    net.load_state_dict(others, strict=False)  # and let parts that follow it know


def packed(integers: Tensor) -> Tensor:
    """Integers from -8 to 7, int8 of any shape -> two in a byte, uint8 of one dimension, the first in the low half."""
    flat = integers.flatten()
    flat = torch.cat([flat, flat.new_zeros(len(flat) % 2)]).view(torch.uint8) & 15
    return flat[::2] | flat[1::2] << 4


def unpacked(pairs: Tensor, shape: torch.Size) -> Tensor:
    """The same integers, int8 of `shape`."""
    halves = torch.stack([pairs & 15, pairs >> 4], dim=-1).flatten().to(torch.int8)
    return torch.where(halves > 7, halves - 16, halves)[: shape.numel()].view(shape)
