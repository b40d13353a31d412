"""The soft cap of logits: large ones are drawn in, so that none can run away (Gemma 2, Riviere et al. 2024)."""

from torch import Tensor


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """`cap` tanh(logits / `cap`), of any shape, between -`cap` and `cap`; None leaves them as they are."""
    return logits if cap is None else cap * (logits / cap).tanh()
