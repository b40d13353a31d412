"""Quantised tensors seen as plain ones: the numbers that they stand for, and the parts that they are made of."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def as_numbers(weight: Tensor) -> Tensor:
    """The tensor itself, or the numbers that a quantised one stands for."""
    return weight.dequantize() if is_traceable_wrapper_subclass(weight) else weight


def plain_parts(value: Any) -> list[Tensor]:
    """The plain tensors that a value is made of: of quantised ones their integers and factors; none of no tensor."""
    if not torch.is_tensor(value):
        return []
    if not is_traceable_wrapper_subclass(value):
        return [value]
    return [part for name in value.__tensor_flatten__()[0] for part in plain_parts(getattr(value, name))]


def bytes_of(tensor: Tensor) -> int:
    """Bytes of a plain tensor's numbers."""
    return tensor.numel() * tensor.element_size()
