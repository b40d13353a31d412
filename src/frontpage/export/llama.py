"""Llama and its relatives with rotary positions: they share names of weights, and differ in norm, MLP and window."""

from typing import Any

from torch import Tensor

from frontpage.export.layout import Layout, OwnWeights
from frontpage.export.traits import Traits

PLAIN_MLP = ("gelu", "relu", "relu2")  # two matrices; swiglu has three


def shared(traits: Traits) -> dict[str, Any]:
    """The keys of config.json that all of them read."""
    return {
        "num_hidden_layers": traits.n_layer,
        "hidden_size": traits.d_model,
        "intermediate_size": traits.d_ff,
        "num_attention_heads": traits.n_head,
        "num_key_value_heads": traits.n_kv_head,
        "head_dim": traits.head_width,
        "hidden_act": "silu" if traits.activation == "swiglu" else traits.activation,
        "max_position_embeddings": traits.block_size,
        "rope_parameters": {"rope_type": "default", "rope_theta": traits.rotary_base},
        "rope_theta": traits.rotary_base,  # where transformers 4 and other readers look for it
        "attention_dropout": traits.attention_dropout,
        "initializer_range": traits.init_std,
    }


def rms(traits: Traits) -> dict[str, Any]:
    """The keys of those with RMSNorm."""
    return shared(traits) | {"rms_norm_eps": traits.eps}


def llama(traits: Traits) -> dict[str, Any]:
    """The keys of LlamaConfig, and of ArceeConfig."""
    return rms(traits) | {"attention_bias": traits.bias, "mlp_bias": traits.bias}


def qwen3(traits: Traits) -> dict[str, Any]:
    """The keys of Qwen3Config; a window is one of every layer."""
    windowed = traits.attention == "window"
    window = {"use_sliding_window": windowed, "sliding_window": traits.window if windowed else None}
    return rms(traits) | window | {"max_window_layers": 0 if windowed else traits.n_layer, "attention_bias": False}


def mistral(traits: Traits) -> dict[str, Any]:
    """The keys of MistralConfig."""
    return rms(traits) | {"sliding_window": traits.window}


def starcoder2(traits: Traits) -> dict[str, Any]:
    """The keys of Starcoder2Config."""
    return shared(traits) | {
        "norm_epsilon": traits.eps,
        "use_bias": True,
        "sliding_window": traits.window if traits.attention == "window" else None,
        "residual_dropout": traits.dropout,
        "embedding_dropout": traits.dropout,
    }


def weights(own: OwnWeights, traits: Traits) -> dict[str, Tensor]:
    """Our weights under their names: `qkv` in its three parts, `up` of a gated MLP in gate and up.

    LayerNorms exist with a bias only, so those architectures get zeros where ours has none, in linear layers too.
    """
    found: dict[str, Tensor] = {}
    zeros = traits.norm == "layer"

    def layer(ours: str, theirs: dict[str, int]) -> None:
        """One of our layers as several of theirs, with so many rows each."""
        for name, weight in own.take_pair(ours, zeros).items():
            for target, part in zip(theirs, weight.split(list(theirs.values())), strict=True):
                found[f"{target}.{name}"] = part

    d_model, head = traits.d_model, traits.head_width
    gated = traits.activation == "swiglu"
    names = {"up": "up_proj", "down": "down_proj"} if traits.norm == "rms" else {"up": "c_fc", "down": "c_proj"}
    found["model.embed_tokens.weight"] = own.take("token_embedding.weight")
    for index in range(traits.n_layer):
        ours, theirs = f"blocks.{index}", f"model.layers.{index}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        keys = traits.n_kv_head * head
        layer(f"{ours}.attention_norm", {f"{theirs}.input_layernorm": d_model})
        layer(
            f"{ours}.attention.qkv",
            {f"{attention}.q_proj": traits.n_head * head, f"{attention}.k_proj": keys, f"{attention}.v_proj": keys},
        )
        layer(f"{ours}.attention.out", {f"{attention}.o_proj": d_model})
        if traits.qk_norm:
            layer(f"{ours}.attention.query_norm", {f"{attention}.q_norm": head})
            layer(f"{ours}.attention.key_norm", {f"{attention}.k_norm": head})
        layer(f"{ours}.mlp_norm", {f"{theirs}.post_attention_layernorm": d_model})
        gate = {f"{mlp}.gate_proj": traits.d_ff} if gated else {}
        layer(f"{ours}.mlp.up", gate | {f"{mlp}.{names['up']}": traits.d_ff})
        layer(f"{ours}.mlp.down", {f"{mlp}.{names['down']}": d_model})
    layer("final_norm", {"model.norm": d_model})
    if not traits.tie_embeddings:
        found["lm_head.weight"] = own.take("head.weight")
    return found


def relative(name: str, architecture: str, config: Any, **holds: tuple[Any, ...]) -> Layout:
    """A layout of this family: rotary positions, normalised before; `holds` says the rest."""
    family = {"norm_position": ("pre",), "positions": ("rotary",), "rotary_share": (1.0,)}
    return Layout(name, architecture, {**holds, **family}, config, weights)


LLAMA = relative(
    "llama",
    "LlamaForCausalLM",
    llama,
    attention=("causal", "narrow"),
    norm=("rms",),
    activation=("swiglu",),
    qk_norm=(False,),
)
QWEN3 = relative(
    "qwen3",
    "Qwen3ForCausalLM",
    qwen3,
    attention=("causal", "narrow", "window"),
    norm=("rms",),
    activation=("swiglu",),
    qk_norm=(True,),
    bias=(False,),
)
MISTRAL = relative(
    "mistral",
    "MistralForCausalLM",
    mistral,
    attention=("window",),
    norm=("rms",),
    activation=("swiglu",),
    qk_norm=(False,),
    bias=(False,),
)
ARCEE = relative(
    "arcee",
    "ArceeForCausalLM",
    llama,
    attention=("causal", "narrow"),
    norm=("rms",),
    activation=PLAIN_MLP,
    qk_norm=(False,),
)
STARCODER2 = relative(
    "starcoder2",
    "Starcoder2ForCausalLM",
    starcoder2,
    attention=("causal", "narrow", "window"),
    norm=("layer",),
    activation=PLAIN_MLP,
    qk_norm=(False,),
)
