"""ExclusiveHeads: a token's own value is taken out of what its heads give (Zhai 2026, arXiv 2603.09078)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.head_addition import HeadAddition
from frontpage.attention.parts.softmax import repeat_heads


class ExclusiveHeads(HeadAddition):
    """y - tanh(a) (y . u) u, with u the token's own value at length 1, and a learned for each head.

    The paper takes all of it out, a = infinity; a starts at 0 here, where nothing is taken out.
    """

    reads_mixture = True

    def __init__(self, attention: SelfAttention) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(attention.n_head))

    def mixed(self, y: Tensor, v: Tensor, x: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, H, T, D)."""
        own = F.normalize(repeat_heads(v, y.shape[1]), dim=-1).to(y.dtype)
        share = torch.tanh(self.alpha)[:, None, None].to(y.dtype)
        return y - share * (y * own).sum(-1, keepdim=True).to(y.dtype) * own
