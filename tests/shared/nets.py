"""Nets as the presets of configs/model/ make them, without the recipe around."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import OmegaConf
from tiny import CONFIGS

from frontpage.attention.causal import CausalAttention
from frontpage.models.decoder import Decoder
from frontpage.models.gpt import GPT

MODERN = {key: value for key, value in OmegaConf.load(CONFIGS / "model/modern.yaml").items() if key != "defaults"}


def Modern(*sizes: Any, **changes: Any) -> GPT:  # noqa: N802 (it stands where tests take an architecture)
    """A GPT with what model=modern changes."""
    return GPT(*sizes, **{**MODERN, **changes})


def added(architecture: Callable[..., Decoder] = GPT, n_layer: int = 5, **settings: Any) -> Decoder:
    """A small net in double precision whose weights are stirred, so that none is zero or one."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "block_size": 16, "d_model": 32, "n_layer": n_layer, "n_head": 4}
    net = architecture(**sizes | {"attention": CausalAttention} | settings).double().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net


def embedded(net: Decoder, tokens: torch.Tensor) -> torch.Tensor:
    """What the first block reads without additions, and without dropout, (B, T, C)."""
    x = net.token_embedding(tokens)
    return x if net.position_table is None else x + net.position_table[: tokens.shape[1]]
