"""StochasticDepth: in training some rows skip some layers."""

import torch
from torch import Tensor

from frontpage.command.limits import ShareBelow1
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class StochasticDepth(Addition):
    """In training a row skips layer l of L (from 1) with probability p = `rate` l / L, attention and MLP together.

    Huang et al. 2016, "Deep networks with stochastic depth", arXiv 1603.09382, equations 2 and 4. A row that does not
    skip it has what the layer changes divided by 1 - p, as dropout does, so that the mean of both is the whole layer;
    evaluation computes that, unscaled. (The paper scales in evaluation instead.) All rows are computed.
    """

    def __init__(self, net: Decoder, rate: ShareBelow1 = 0.1) -> None:
        super().__init__()
        layers = len(net.widths)
        self.shares = [rate * layer / layers for layer in range(1, layers + 1)]

    def after_layer(self, index: int, before: Tensor, after: Tensor) -> Tensor:
        """Both (B, T, C) -> (B, T, C)."""
        share = self.shares[index]
        if not self.training or share == 0:
            return after
        kept = torch.rand(len(after), 1, 1, dtype=torch.float32, device=after.device) >= share
        return before + torch.where(kept, (after - before) / (1 - share), 0.0)
