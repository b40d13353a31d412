"""HeadGate: a gate a head, made from the first numbers of what a layer reads."""

from frontpage.attention.additions.head_gate import GatedHeads
from frontpage.command.limits import Count
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class HeadGate(Addition):
    """What head h gives is multiplied by sigmoid(G x[..., :gate_width])_h in every layer; G starts at 0, a gate at 1/2.

    Of modded-nanogpt and the slowrun; Qiu et al. 2025 (arXiv 2505.06708) make gates from all of x, which is
    `model/attention=gated`. Raises ValueError where a layer is narrower than `gate_width` or its attention takes no
    such part.
    """

    def __init__(self, net: Decoder, gate_width: Count = 12) -> None:
        super().__init__()
        for block in net.blocks:
            block.attention.add("head_gate", GatedHeads(block.attention, gate_width))
