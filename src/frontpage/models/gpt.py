"""GPT: a stack of equal blocks (Radford et al. 2019)."""

from collections.abc import Callable
from typing import Any

from frontpage.attention.parts.contract import SelfAttention
from frontpage.command.limits import Count
from frontpage.models.decoder import Decoder, LayerCount, at_least_1


class GPT(Decoder):
    """`n_layer` blocks of width `d_model`, tokens (B, T) -> logits (B, T, V); `options` are those of Decoder.

    Raises ValueError for an unknown name or sizes that do not fit.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: Count,
        d_model: Count,
        n_layer: LayerCount,
        n_head: Count,
        attention: Callable[..., SelfAttention],
        **options: Any,
    ) -> None:
        at_least_1(d_model=d_model, n_layer=n_layer)
        sizes = {"vocab_size": vocab_size, "block_size": block_size, "n_head": n_head}
        super().__init__(*[d_model] * n_layer, **sizes, attention=attention, **options)
