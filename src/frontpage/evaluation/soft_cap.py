"""The soft cap of logits: large ones are drawn in, so that none can run away (Gemma 2, Riviere et al. 2024)."""

from torch import Tensor


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """`cap` tanh(logits / `cap`), any shape, in fp32 at least: bf16 would tie the largest. None leaves all as it is."""
    return logits if cap is None else cap * ((logits if logits.itemsize > 2 else logits.float()) / cap).tanh()
