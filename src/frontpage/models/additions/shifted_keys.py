"""ShiftedKeysOnLayers: what rotary positions leave of a key comes from the token before, on some layers."""

from frontpage.attention.additions.shifted_keys import ShiftedKeys
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.limits import Count
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class ShiftedKeysOnLayers(Addition):
    """The unturned numbers of keys are shifted by a token on every `every`-th layer, counted back from the last one.

    Of modded-nanogpt and the slowrun. Raises ValueError where rotary positions turn nothing, or all of a head.
    """

    def __init__(self, net: Decoder, every: Count = 2) -> None:
        super().__init__()
        for attention in (block.attention for block in net.blocks[::-every]):
            if not isinstance(attention, ProjectedAttention):
                raise attention.refusal_of("shifted_keys")
            if attention.rotary is None:
                raise ValueError("positions=learned: rotary with addition=shifted_keys, which shifts what it leaves")
            if attention.rotary.turned == attention.head_width:
                raise ValueError(
                    "rotary_share=1.0: below 1 with addition=shifted_keys, which shifts the rest of a head"
                )
            attention.add("shifted_keys", ShiftedKeys(attention))
