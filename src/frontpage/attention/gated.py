"""Output-gated attention (Qiu et al. 2025, arXiv 2505.06708)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from frontpage.attention.causal import CausalAttention


class GatedAttention(CausalAttention):
    """Causal attention whose mixed values are multiplied by sigmoid(W x) before the output projection.

    `gate` is `element` (a gate for each number of each head) or `head` (one a head). Under
    small initial weights it starts near 1/2; there is no bias. Sees what causal attention sees:

    >>> from frontpage.attention.causal import Causal
    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        gate: Literal["element", "head"] = "element",
        **shared: Any,
    ) -> None:
        super().__init__(d_model, n_head, block_size, **shared)
        if gate not in ("element", "head"):
            raise ValueError(f"gate={gate}: element or head")
        self.mixes_values = gate == "head"
        self.gate = nn.Linear(d_model, n_head * (self.head_width if gate == "element" else 1), bias=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D)."""
        y = super().attend(q, k, v, x=x, document_ids=document_ids, cache=cache)
        gate = self.gate(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, H, T, D or 1)
        return y * torch.sigmoid(gate)
