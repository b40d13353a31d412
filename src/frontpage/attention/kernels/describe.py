"""What a net's attentions are, for the console and the run's record, and whether they can run."""

from typing import Any

import torch
from torch import nn

from frontpage.attention.kernels.routes import Routed
from frontpage.attention.parts.contract import SelfAttention
from frontpage.command.errors import UserError


def router_of(layer: SelfAttention) -> Routed:
    """What says how a layer is computed: itself, or the paths that it was given; ValueError where it was given none."""
    router = layer if isinstance(layer, Routed) else layer.paths
    if router is None:
        raise ValueError(
            "paths=null: this net computes all pairs; kernels.pattern_paths.accelerate gives it better ones"
        )
    return router


def describe_attention(net: nn.Module, block_size: int, device: torch.device, documents: bool) -> dict[str, Any]:
    """`class`, `backend` of a training step, and `visible_pairs`: the share of causal pairs that are shown.

    Pairs of a document as long as the block, the mean over heads and layers. `documents`: with several documents a row.
    Layers that differ are all named; None where the net has no attention.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, SelfAttention)]
    if not layers:
        return {"class": None, "backend": None, "visible_pairs": None}
    paths = dict.fromkeys(router_of(layer).route(block_size, device, documents=documents) for layer in layers)
    pairs = sum(layer.visible_pairs(block_size) for layer in layers) / len(layers)
    return {
        "class": " ".join(dict.fromkeys(type(layer).__name__ for layer in layers)),
        "backend": " ".join(paths),
        "visible_pairs": pairs / (block_size * (block_size + 1) / 2),
    }


def check_backends(
    net: nn.Module, block_size: int, device: torch.device, *, documents: bool, scored: bool = False
) -> None:
    """Raise a UserError where the backend that was asked for can neither train there nor validate.

    `documents`: training has several documents a row; `scored`: validation has.
    """
    for layer in (layer for layer in net.modules() if isinstance(layer, SelfAttention)):
        try:
            router_of(layer).route(block_size, device, documents=documents)
            router_of(layer).route(block_size, device, documents=scored, training=False)
        except ValueError as error:
            raise UserError(f"model.attention.{error}") from error
