"""GatedHeads: what a head gives is multiplied by a gate."""

from torch import Tensor

from frontpage.attention.additions.gates import Gates
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.head_addition import HeadAddition


class GatedHeads(HeadAddition):
    """y_h g_h, one gate a head and token."""

    def __init__(self, attention: SelfAttention, gate_width: int) -> None:
        super().__init__()
        self.gates = Gates("head_gate", attention.out.out_features, gate_width, attention.n_head)

    def mixed(self, y: Tensor, v: Tensor, x: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, H, T, D)."""
        return y * self.gates(x)
