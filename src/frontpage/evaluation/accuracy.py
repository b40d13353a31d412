"""How often the likeliest token is the right one."""

import torch
from torch import Tensor

from frontpage.evaluation.losses import Head


@torch.no_grad()
def right_tokens(hidden: Tensor, head: Head, targets: Tensor, chunk: int = 2048) -> Tensor:
    """Whether the head finds each of N `targets` (N,) the likeliest from `hidden` (N, C): (N,) bool.

    Of equally likely tokens the first by number counts, as in greedy generation.
    """
    parts = [
        head(rows).argmax(-1) == wanted for rows, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else targets.bool()
