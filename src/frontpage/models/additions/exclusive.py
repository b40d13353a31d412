"""Exclusive: heads give what others say, without the token's own value (Zhai 2026, arXiv 2603.09078)."""

from frontpage.attention.additions.exclusive import ExclusiveHeads
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class Exclusive(Addition):
    """What a head gives loses tanh(a) times its part along the token's own value; a is learned a head, 0 at first.

    Raises ValueError for an attention whose heads give no weighted sums of their values.
    """

    def __init__(self, net: Decoder) -> None:
        super().__init__()
        for block in net.blocks:
            block.attention.add("exclusive", ExclusiveHeads(block.attention))
