"""The soft cap of logits: large ones are drawn in, so that none can run away (Gemma 2, Riviere et al. 2024)."""

import torch
from torch import Tensor


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """`cap` tanh(logits / `cap`), of any shape, between -`cap` and `cap`; None leaves them as they are.

    It is computed in fp32 at least: bf16 has steps of 1/16 from 8 on, by which many a likeliest token would be tied.
    """
    if cap is None:
        return logits
    return cap * (logits.to(torch.promote_types(logits.dtype, torch.float32)) / cap).tanh()
