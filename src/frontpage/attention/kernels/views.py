"""Tensors as the compiled kernels see them, `View` of lanes.hpp."""

import ctypes

import torch
from torch import Tensor

REALS = {torch.float32: "float", torch.float64: "double"}  # the types of numbers that kernels are compiled for


class View(ctypes.Structure):
    """Where a tensor (rows, heads, time, ...) begins, and its first three strides in numbers."""

    _fields_ = [("first", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("row", "head", "time"))]


def views(tensors: tuple[Tensor, ...]) -> ctypes.Array:
    """What a kernel is given; the tensors must outlive it, and lie as `along_memory` leaves them."""
    return (View * len(tensors))(*(View(one.data_ptr(), *(*one.stride(), 0)[:3]) for one in tensors))


def along_memory(x: Tensor) -> Tensor:
    """(B, H, T) as it is, (B, H, T, N) and more with the N numbers side by side."""
    return x if x.dim() == 3 or x.stride(-1) == 1 else x.contiguous()


def like(x: Tensor) -> Tensor:
    """An empty tensor that lies in memory as `x` does, if that is along memory."""
    return torch.empty_like(x) if x.stride(-1) == 1 else x.new_empty(x.shape)
