"""EmbeddedValues: heads mix what the token is as well, by a projection of its embedding."""

from torch import Tensor, nn

from frontpage.attention.additions.gates import Gates
from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.head_addition import HeadAddition


class EmbeddedValues(HeadAddition):
    """v + 2 g W x0, with x0 the embedded token, `d_embedding` wide, and g the gates of the heads of values.

    W is a layer's own; its initial weights are for the caller to set.
    """

    def __init__(self, attention: SelfAttention, d_embedding: int, gate_width: int) -> None:
        super().__init__()
        heads, d_model = attention.n_kv_head, attention.out.out_features
        self.gates = Gates("value_embeddings", d_model, gate_width, heads)
        self.projection = nn.Linear(d_embedding, heads * attention.head_width, bias=False)

    def values(self, v: Tensor, x: Tensor, first: Tensor) -> Tensor:
        """(B, Hkv, T, D) -> (B, Hkv, T, D)."""
        embedded = self.projection(first).unflatten(-1, (v.shape[1], -1)).transpose(1, 2)
        return v + 2 * self.gates(x) * embedded
