"""What a net's attentions are, for the console and the run's record."""

from typing import Any

import torch
from torch import nn

from frontpage.attention.base import SelfAttention


def describe_attention(net: nn.Module, block_size: int, device: torch.device, documents: bool) -> dict[str, Any]:
    """`class`, `backend` of a training step, `visible_pairs`: the mean share of a block's causal pairs that are shown.

    `documents`: with several documents a row. Layers that differ are all named; None where the net has no attention.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, SelfAttention)]
    if not layers:
        return {"class": None, "backend": None, "visible_pairs": None}
    paths = dict.fromkeys(layer.route(block_size, device, documents=documents) for layer in layers)
    pairs = sum(layer.visible_pairs(block_size) for layer in layers) / len(layers)
    return {
        "class": " ".join(dict.fromkeys(type(layer).__name__ for layer in layers)),
        "backend": " ".join(paths),
        "visible_pairs": pairs / (block_size * (block_size + 1) / 2),
    }
