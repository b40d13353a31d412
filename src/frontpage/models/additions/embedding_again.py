"""EmbeddingAgain: every layer reads the embedded tokens once more."""

import torch
from torch import Tensor, nn

from frontpage.command.limits import Amount
from frontpage.models.additions.addition import Addition, Stream
from frontpage.models.decoder import Decoder


class EmbeddingAgain(Addition):
    """A layer reads a x + b x0, x0 being the embedded tokens; a and b are learned numbers of each layer.

    They start at `stream` and `embedding`. Of modded-nanogpt (Jordan et al. 2024) and the slowrun. Raises ValueError
    where layers are not as wide as the embedding.
    """

    def __init__(self, net: Decoder, stream: Amount = 1.0, embedding: Amount = 0.1) -> None:
        super().__init__()
        if len({*net.widths}) > 1:
            raise ValueError(f"widths={net.widths}: embedding_again needs layers of one width")
        layers = len(net.widths)
        self.factors = nn.Parameter(torch.tensor([[float(stream), float(embedding)]] * layers))  # (L, 2)

    def before_layer(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        of_stream, of_embedding = self.factors[index]
        return of_stream * x + of_embedding * stream.first
