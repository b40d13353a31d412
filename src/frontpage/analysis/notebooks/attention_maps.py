"""The attention weights that a trained model really used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.parts.contract import SelfAttention
from frontpage.attention.parts.pattern import PatternAttention
from frontpage.attention.sparsek import SparseKAttention
from frontpage.models.decoder import Decoder


@torch.no_grad()
def attention_maps(net: Decoder, tokens: Tensor) -> list[Tensor]:
    """The weights (H, T, T) of each layer for one document of tokens (1, T); ValueError as `recorded_weights`."""
    with recorded_weights([block.attention for block in net.blocks]) as maps:
        net(tokens)
    return [weights[0] for weights in maps]


@contextmanager
def recorded_weights(layers: Sequence[SelfAttention]) -> Iterator[list[Tensor]]:
    """A list to which each call of one of `layers` adds the weights that it used, (B, H, T, T).

    A layer mixes the rows of an identity matrix in place of its values as well, by its reference, which takes values of
    any width: what comes out are its weights. ValueError for a layer that does more than to mix values.
    """
    for layer in layers:
        if not mixes_only(layer):
            raise ValueError(f"{type(layer).__name__}: what its heads give is no weighted mean of values")
    maps: list[Tensor] = []

    def record(layer: Any) -> None:
        attend = layer.attend

        def both(q: Tensor, k: Tensor, v: Tensor, **context: Any) -> Tensor:
            time = q.shape[2]
            identity = torch.eye(time, dtype=v.dtype, device=v.device).repeat(*v.shape[:2], 1, 1)
            asked, layer.backend = layer.backend, "math"
            try:
                maps.append(attend(q, k, identity, **context))
            finally:
                layer.backend = asked
            return attend(q, k, v, **context)

        layer.attend = both  # on the object, before the method of its class

    for layer in layers:
        record(layer)
    try:
        yield maps
    finally:
        for layer in layers:
            del layer.attend


def mixes_only(layer: SelfAttention) -> bool:
    """Whether a layer's heads are weighted means of values, neither gated nor subtracted afterwards."""
    kind = type(layer)
    if isinstance(layer, PatternAttention):
        return kind.attend is PatternAttention.attend and kind.mix_heads is PatternAttention.mix_heads
    return isinstance(layer, SparseKAttention) and layer.gate != "soft"
