"""Traits: what tells one decoder from another, as far as other programs' layouts care."""

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from frontpage.attention.local import Local
from frontpage.attention.parts.pattern import PatternAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.errors import BadValue, UserError
from frontpage.models.block import ACTIVATIONS, MLP, Block
from frontpage.models.decoder import Decoder
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT

ELSEWHERE = "no standard architecture computes it; --format safetensors keeps it under our own names"


@dataclass(frozen=True)
class Traits:
    """Choices of an architecture by their config keys, then its sizes and what only a config file asks for.

    `attention` is `causal`, `window` (the last `window` tokens), `narrow` (causal, the heads together narrower than
    the model) or `narrow window`.
    """

    positions: str
    norm: str
    norm_position: str
    activation: str
    attention: str
    qk_norm: bool
    bias: bool
    tie_embeddings: bool

    n_layer: int
    d_model: int
    d_ff: int
    n_head: int
    n_kv_head: int
    head_width: int
    block_size: int
    vocab_size: int
    window: int
    eps: float  # of the norms
    logit_scale: float  # multiplies what the head reads
    rotary_base: float
    rotary_share: float  # of a head that is turned
    dropout: float
    attention_dropout: float
    init_std: float


def read_traits(model: DictConfig, net: nn.Module) -> Traits:
    """The traits of a run's `net`, built from the config `model`; UserError where it is no standard decoder."""
    if type(net) not in (GPT, DeepNarrow):
        raise BadValue("model", type(net).__name__, ELSEWHERE)
    heads = [name for name in net.heads if name != "language"]
    if heads:
        raise BadValue("tasks", f"[{','.join(heads)}]", f"of their heads {ELSEWHERE}")
    if net.additions:
        raise BadValue("model.addition", f"[{','.join(net.additions)}]", ELSEWHERE)
    if net.head.cap is not None:
        raise BadValue("model.logit_cap", net.head.cap, ELSEWHERE)
    if isinstance(net, DeepNarrow):
        check_standard(net)
    block = net.blocks[0]
    attention, mlp, norm = block.attention, block.mlp, block.mlp_norm
    if any(type(one) is not Block or type(one.mlp) is not MLP for one in net.blocks):
        raise UserError(f"model={type(net).__name__}: its layers are of a kind of their own: {ELSEWHERE}")
    window = window_of(net)
    if window is None:
        raise BadValue("model.attention", option_of(model.attention), ELSEWHERE)
    kind = "causal" if window == net.block_size else "window"
    d_model = net.widths[0]
    if attention.n_head * attention.head_width != d_model:
        kind = "narrow" if kind == "causal" else "narrow window"  # of which no format knows
    return Traits(
        positions="learned" if net.position_table is not None else "rotary",
        norm="rms" if isinstance(norm, nn.RMSNorm) else "layer",
        norm_position="pre" if block.pre else "post",
        activation=next(name for name, function in ACTIVATIONS.items() if function is mlp.activation),
        attention=kind,
        qk_norm=attention.query_norm is not None,
        bias=mlp.up.bias is not None,
        tie_embeddings=net.head.weight is net.token_embedding.weight,
        n_layer=len(net.blocks),
        d_model=d_model,
        d_ff=mlp.down.in_features,
        n_head=attention.n_head,
        n_kv_head=attention.n_kv_head,
        head_width=attention.head_width,
        block_size=net.block_size,
        vocab_size=net.vocab_size,
        window=window,
        eps=norm.eps,
        logit_scale=net.logit_scale,
        rotary_base=model.rotary_base,
        rotary_share=1.0 if attention.rotary is None else attention.rotary.turned / attention.head_width,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        init_std=model.init_std,
    )


def check_standard(net: DeepNarrow) -> None:
    """Raise a UserError unless other programs know the net's norms: RMSNorm before each part and at the end."""
    final, learned = not isinstance(net.final_norm, nn.Identity), net.position_table is not None
    if net.norm != "rmsnorm":
        raise BadValue("model.norm", net.norm, f"rmsnorm; of the others {ELSEWHERE}")
    for key, value, wanted in (
        ("final_norm", final, True),
        ("positions", "learned" if learned else "rotary", "rotary"),
    ):
        if value != wanted:
            raise BadValue(f"model.{key}", str(value).lower(), ELSEWHERE)


def window_of(net: Decoder) -> int | None:
    """How many tokens every head of every layer sees, the last ones: the block where all; None for anything else."""
    layers = [block.attention for block in net.blocks]
    if not all(isinstance(layer, PatternAttention) and mixes_plainly(type(layer)) for layer in layers):
        return None
    places = torch.arange(net.block_size)
    square = (places[:, None], places)
    masks = [pattern(*square) for pattern in {pattern for layer in layers for pattern in layer.patterns}]
    window = int(masks[0][-1].sum())
    return window if all(torch.equal(mask, Local(window)(*square)) for mask in masks) else None


def mixes_plainly(attention: type[PatternAttention]) -> bool:
    """Whether a variant only says who sees whom, and leaves projections and softmax as they are."""
    pattern, projected = PatternAttention, ProjectedAttention
    return (
        attention.forward is projected.forward
        and attention.attend is pattern.attend
        and attention.mix_heads is pattern.mix_heads
    )


def option_of(node: Any) -> str:
    """The name of the option that a config node was: `sparsek` of frontpage.attention.sparsek.SparseKAttention."""
    return str(node["_target_"]).split(".")[-2]
