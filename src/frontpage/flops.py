"""Floating-point operations of training, and what the device could do."""

import functools
import time

import torch
from torch import nn


def training_flops_per_token(net: nn.Module, block_size: int) -> float:
    """Operations a trained token, forward and backward (Kaplan et al. 2020, appendix of PaLM for the attention term).

    6 a parameter that multiplies (the position table and an embedding that is not the head's do not), and three times
    what each layer's attention does in the forward pass between its projections, in a document of `block_size` tokens.
    """
    linear = {id(module.weight) for module in net.modules() if isinstance(module, nn.Linear)}
    looked_up = [module.weight for module in net.modules() if isinstance(module, nn.Embedding)]
    tables = [weight for weight in (net.position_table, *looked_up) if weight is not None]
    multiplying = sum(parameter.numel() for parameter in net.parameters())
    multiplying -= sum(table.numel() for table in tables if id(table) not in linear)
    return 6.0 * multiplying + 3.0 * sum(block.attention.mixing_flops(block_size) for block in net.blocks)


@functools.cache
def measure_matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 1024, repeats: int = 7) -> float:
    """Operations a second in the best of `repeats` square matrix products of `size`; once a process."""
    own = torch.Generator(device).manual_seed(0)  # what training draws does not depend on this
    left, right = torch.randn(2, size, size, device=device, dtype=dtype, generator=own)
    best = float("inf")
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
