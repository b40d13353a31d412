"""LanguageHead: from what the trunk gives to a logit for each token."""

from torch import Tensor, nn

from frontpage.evaluation.soft_cap import soft_capped


class LanguageHead(nn.Linear):
    """A linear layer without bias, (..., C) -> logits (..., V), softly capped by `cap` unless that is None."""

    def __init__(self, width: int, vocab_size: int, cap: float | None = None) -> None:
        super().__init__(width, vocab_size, bias=False)
        self.cap = cap

    def forward(self, states: Tensor) -> Tensor:
        """(..., C) -> (..., V)."""
        return soft_capped(super().forward(states), self.cap)
