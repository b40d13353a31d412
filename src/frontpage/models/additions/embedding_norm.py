"""EmbeddingNorm: the embedded tokens are normalised before the first layer reads them."""

import torch
from torch import Tensor, nn

from frontpage.command.limits import Positive
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class EmbeddingNorm(Addition):
    """x / rms(x) of each embedded token with its position, without a gain, before dropout.

    The size of an embedding then says only how far an update turns it; `std` gives its initial weights one of their own
    (None: the net's `init_std`). Of modded-nanogpt (Jordan et al. 2024) and the slowrun, whose `std` is 1. Raises
    ValueError for `std` where the head is tied, whose weights would be as large, or where there are none to scale.
    """

    def __init__(self, net: Decoder, std: Positive | None = None) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(net.widths[0], eps=1e-6, elementwise_affine=False)
        if std is None:
            return
        if net.head.weight is net.token_embedding.weight:
            raise ValueError(f"std={std}: would be that of the head, too; null, or model.tie_embeddings=false")
        if net.init_std == 0:
            raise ValueError(f"std={std}: null with model.init_std=0, or that above 0")
        with torch.no_grad():
            net.token_embedding.weight.mul_(std / net.init_std)

    def embedded(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.norm(x)
