"""Dense causal attention (Vaswani et al. 2017)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from frontpage.attention.parts.pattern import Pattern, PatternAttention


@dataclass(frozen=True)
class Causal(Pattern):
    """Every key up to the query.

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    relative: ClassVar[bool] = True
    form: ClassVar[str | None] = "causal"

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """True where key <= query."""
        return key <= query


class CausalAttention(PatternAttention):
    """Every token sees itself and all tokens before it."""

    backends = ("sdpa", "math", "flex")

    def __init__(self, d_model: int, n_head: int, block_size: int, **shared: Any) -> None:
        super().__init__(d_model, n_head, block_size, patterns=[Causal()], **shared)
