"""Cross-entropy over the vocabulary: the training loss, and the loss of each token."""

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.data.packing import IGNORED

# In PyTorch since 2.13: never holds all logits at once. Older versions compute them in full.
_chunked = getattr(F, "linear_cross_entropy", None)


def next_token_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean nats a target of `targets` (B, T), IGNORED left out, from `hidden` (B, T, C) and the head (V, C); a scalar.

    Zero where every target is ignored.
    """
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    if _chunked is None:
        total = F.cross_entropy(_wide(hidden @ weight.T), targets, ignore_index=IGNORED, reduction="sum")
    else:
        options = torch.nn.LinearCrossEntropyOptions()
        total = _chunked(_wide(hidden), _wide(weight), targets, ignore_index=IGNORED, reduction="sum", options=options)
    return total / (targets != IGNORED).sum().clamp(min=1)


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = 2048) -> Tensor:
    """Nats of each of N `targets` (N,) from `hidden` (N, C) and the head (V, C), at least in fp32: (N,)."""
    parts = [
        F.cross_entropy(_wide(rows @ weight.T), wanted, reduction="none")
        for rows, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def _wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 where it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
