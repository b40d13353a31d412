"""GPT-2 (Radford et al. 2019), as transformers stores it: its linear layers are transposed, and all have biases."""

from typing import Any

import torch
from torch import Tensor

from frontpage.export.layout import Layout, OwnWeights
from frontpage.export.traits import Traits


def config(traits: Traits) -> dict[str, Any]:
    """The keys of transformers' GPT2Config."""
    return {
        "n_layer": traits.n_layer,
        "n_embd": traits.d_model,
        "n_head": traits.n_head,
        "n_inner": traits.d_ff,
        "n_positions": traits.block_size,
        "activation_function": traits.activation,  # `gelu` is the exact one, as ours; `gelu_new` would be the tanh form
        "layer_norm_epsilon": traits.eps,
        "embd_pdrop": traits.dropout,
        "resid_pdrop": traits.dropout,
        "attn_pdrop": traits.attention_dropout,
        "initializer_range": traits.init_std,
    }


def weights(own: OwnWeights, traits: Traits) -> dict[str, Tensor]:
    """Our weights under GPT-2's names; grouped keys and values are repeated, since it has one for each head."""
    found = {"transformer.wte.weight": own.take("token_embedding.weight")}
    found["transformer.wpe.weight"] = own.take("position_table")

    def layer(ours: str, theirs: str, *, linear: bool) -> None:
        pair = own.take_pair(ours, zeros=True)
        if ours.endswith("attention.qkv"):
            pair = {name: ungrouped(weight, traits) for name, weight in pair.items()}
        found[f"{theirs}.weight"] = pair["weight"].T if linear else pair["weight"]
        found[f"{theirs}.bias"] = pair["bias"]

    for index in range(traits.n_layer):
        ours, theirs = f"blocks.{index}", f"transformer.h.{index}"
        layer(f"{ours}.attention_norm", f"{theirs}.ln_1", linear=False)
        layer(f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", linear=True)
        layer(f"{ours}.attention.out", f"{theirs}.attn.c_proj", linear=True)
        layer(f"{ours}.mlp_norm", f"{theirs}.ln_2", linear=False)
        layer(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", linear=True)
        layer(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", linear=True)
    layer("final_norm", "transformer.ln_f", linear=False)
    if not traits.tie_embeddings:
        found["lm_head.weight"] = own.take("head.weight")
    return found


def ungrouped(qkv: Tensor, traits: Traits) -> Tensor:
    """((H + 2 Hkv) D, ...) -> (3 H D, ...): each shared key and value once for each head that shares it."""
    width, groups = traits.head_width, traits.n_head // traits.n_kv_head
    q, k, v = qkv.split([width * heads for heads in (traits.n_head, traits.n_kv_head, traits.n_kv_head)])
    k, v = (part.unflatten(0, (-1, width)).repeat_interleave(groups, dim=0).flatten(0, 1) for part in (k, v))
    return torch.cat((q, k, v))


GPT2 = Layout(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    holds={
        "attention": ("causal",),
        "positions": ("learned",),
        "norm": ("layer",),
        "norm_position": ("pre",),
        "activation": ("gelu", "relu", "relu2"),
        "qk_norm": (False,),
    },
    config=config,
    weights=weights,
)
