"""Dense causal attention (Vaswani et al. 2017)."""

from typing import Any

from frontpage.attention.parts.pattern import Causal, PatternAttention


class CausalAttention(PatternAttention):
    """Every token sees itself and all tokens before it.

    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    backends = ("sdpa", "math", "flex")

    def __init__(self, d_model: int, n_head: int, block_size: int, **shared: Any) -> None:
        super().__init__(d_model, n_head, block_size, patterns=[Causal()], **shared)
