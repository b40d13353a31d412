"""HeadAddition: the places between the projections of an attention at which ideas are added to its heads."""

from typing import Any

from torch import Tensor, nn


class HeadAddition(nn.Module):
    """What is added to the heads of a layer; each method is a place of the forward pass, and changes nothing here.

    A subclass is built with the attention that it is given to, and does not keep it.
    """

    def keys(self, k: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """Keys (B, Hkv, T, D), normalised and turned, of the tokens that continue those in `cache`."""
        return k

    def values(self, v: Tensor, x: Tensor, first: Tensor) -> Tensor:
        """Values (B, Hkv, T, D) of what the layer reads, `x` (B, T, C), and of the embedded tokens `first`."""
        return v

    def mixed(self, y: Tensor, v: Tensor, x: Tensor) -> Tensor:
        """What heads have mixed, (B, H, T, D), of values (B, Hkv, T, D) of what the layer reads, `x` (B, T, C)."""
        return y
