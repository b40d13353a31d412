"""HeadNorm: RMSNorm of each head's vectors (Henry et al. 2020, "Query-Key Normalization")."""

from torch import Tensor, nn
from torch.nn import functional as F


class HeadNorm(nn.RMSNorm):
    """RMSNorm over the last dimension, in the input's precision: under autocast heads are narrower than the weight."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
