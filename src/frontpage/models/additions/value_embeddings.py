"""ValueEmbeddings: heads mix projections of the embedded tokens beside the values of their layer."""

from frontpage.attention.additions.value_embeddings import EmbeddedValues
from frontpage.command.limits import Count
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder
from frontpage.models.initialisation import initialise


class ValueEmbeddings(Addition):
    """Values are v + 2 sigmoid(G x[..., :gate_width]) W x0 on every `every`-th layer, counted back from the last one.

    x0 are the embedded tokens, whatever the width of a layer; W starts as the net's linear layers do (`init`,
    `init_std`), G at 0, so the factor at 1. Value residuals are of Zhou et al. 2024 (arXiv 2410.17897), tables for them
    of modded-nanogpt; projections in place of tables of the slowrun. Raises ValueError where a layer is narrower than
    `gate_width` or its attention takes no such part.
    """

    def __init__(self, net: Decoder, every: Count = 2, gate_width: Count = 32) -> None:
        super().__init__()
        for block in net.blocks[::-every]:
            part = EmbeddedValues(block.attention, net.widths[0], gate_width)
            initialise(part.projection, net.init, net.init_std, [], len(net.blocks))
            block.attention.add("value_embeddings", part)
