"""Floating-point operations of training, and what the device could do."""

import functools
import time
from collections.abc import Collection

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes


def training_flops_per_token(net: nn.Module, block_size: int, heads: Collection[str] | None = None) -> float:
    """Operations a trained token, forward and backward (Kaplan et al. 2020, appendix of PaLM for the attention term).

    6 a parameter that multiplies (what is looked up does not, unless a head multiplies by it as well), and three times
    what each layer's attention does in the forward pass between its projections, in a document of `block_size` tokens.
    `heads` are those that a token goes through; None: all. Of the net's `rounds` through its layers, as they are now,
    all but the last have no backward pass and no head: 2 a parameter, and the attention once.
    """
    of_trunk, read, mixing = _multiplying(net, block_size, heads)
    return 6.0 * (of_trunk + read) + 3.0 * mixing + (net.rounds - 1) * (2.0 * of_trunk + mixing)


def forward_flops_per_token(net: nn.Module, block_size: int, heads: Collection[str] | None = None) -> float:
    """The same of a forward pass alone, in all rounds."""
    of_trunk, read, mixing = _multiplying(net, block_size, heads)
    return 2.0 * (net.rounds * of_trunk + read) + net.rounds * mixing


def _multiplying(net: nn.Module, block_size: int, heads: Collection[str] | None) -> tuple[int, int, float]:
    """(parameters of the trunk that multiply, of the heads that are read, operations of attention in a round)."""
    linear = {id(module.weight) for module in net.modules() if isinstance(module, nn.Linear)}
    multiplying = sum(parameter.numel() for parameter in net.parameters())
    multiplying -= sum(table.numel() for table in net.looked_up() if id(table) not in linear)
    of_heads = {name: sum(weight.numel() for weight in head.parameters()) for name, head in net.heads.items()}
    of_trunk = multiplying - sum(of_heads.values())
    read = sum(numbers for name, numbers in of_heads.items() if heads is None or name in heads)
    return of_trunk, read, net.mixing_flops(block_size)


@functools.cache
def measure_matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The device's `matmul_peak`, measured once a process, with numbers also where others have sizes only."""
    with _disable_current_modes():
        return matmul_peak(device, dtype)


def matmul_peak(
    device: torch.device, dtype: torch.dtype, size: int = 1024, repeats: int = 7, patience: float = 0.15
) -> float:
    """Operations a second in the best of `repeats` square matrix products of `size`, now.

    On a CPU, which may be a thousand times slower in one type than in another, the squares grow to `size` as long as
    a product takes less than `patience` seconds, and no product is repeated behind them.
    """
    own = torch.Generator(device).manual_seed(0)  # what training draws does not depend on this
    left, right = torch.randn(2, size, size, device=device, dtype=dtype, generator=own)
    if device.type == "cuda":
        return 2.0 * size**3 / min(_seconds(left, right) for _ in range(repeats))
    started = time.perf_counter()
    for width in sorted({min(size, 128), *(size // part for part in (4, 2, 1) if size // part > 128)}):
        best = float("inf")
        for _ in range(repeats if width == size else 2):  # the first one of a width prepares it
            best = min(best, _seconds(left[:width, :width].contiguous(), right[:width, :width].contiguous()))
            if time.perf_counter() - started > patience:
                break
        rate = 2.0 * width**3 / best
        if 8 * best > patience:  # the next width has eight times the operations
            break
    return rate


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Of one product."""
    kinds = {"cuda": lambda: torch.cuda.synchronize(left.device), "mps": torch.mps.synchronize}
    wait = kinds.get(left.device.type, lambda: None)
    wait()
    start = time.perf_counter()
    left @ right
    wait()
    return time.perf_counter() - start
