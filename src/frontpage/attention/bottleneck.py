"""Dense causal attention of a narrower inner width."""

from typing import Any

from frontpage.attention.causal import CausalAttention


class BottleneckAttention(CausalAttention):
    """Causal attention whose queries, keys and values are `d_inner` wide together, a multiple of `n_head`.

    Scores of a head then have a rank of at most `d_inner` / `n_head`; the cache shrinks alike. Sees what causal
    attention sees:

    >>> from frontpage.attention.causal import Causal
    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    def __init__(self, d_model: int, n_head: int, block_size: int, *, d_inner: int, **shared: Any) -> None:
        super().__init__(d_model, n_head, block_size, d_inner=d_inner, **shared)
