"""What the tests of exports share: nets with random weights, and other programs' layouts computed by hand."""

import functools
import json
from types import SimpleNamespace

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file
from tiny import CONFIGS
from torch.nn import functional as F

from frontpage.command.build import build
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.tokenizer.bpe import bpe
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer
from frontpage.data.tokenizer.unigram import unigram

BLOCK = 48
TITLES = [*title_grammar().sample(60, seed=7), "Na\u00efve \u2013 \u201cquotes\u201d \u65e5\u672c\u8a9e \U0001f389"]
ODD = ["", "<eos> is text", "a <pad><unk> b", "  blanks  ", "it 's , ok ?", "tab\tand\nline", "\u00a0x"]
TOKENIZERS = {"bpe": bpe, "unigram": unigram, "bytes": byte_tokenizer}
NARROW = {"attention": "bottleneck", "attention.d_inner": 16}
LOCAL = {"attention": "local", "attention.window": 5}
# What a model is (keys of its config), and the layout that holds it.
CASES = {
    "gpt": ("gpt", {}, "gpt2"),
    "gpt, untied, no biases": ("gpt", {"tie_embeddings": False, "bias": False, "d_ff": 96}, "gpt2"),
    "gpt, grouped queries": ("gpt", {"n_kv_head": 2, "activation": "relu2"}, "gpt2"),
    "gpt, a window as long as the block": ("gpt", {"attention": "local", "attention.window": BLOCK}, "gpt2"),
    "rotary gpt": ("gpt", {"positions": "rotary"}, "starcoder2"),
    "rotary gpt, no biases": ("gpt", {"positions": "rotary", "bias": False, "n_kv_head": 2}, "starcoder2"),
    "rotary gpt, window": ("gpt", {"positions": "rotary", "activation": "relu"} | LOCAL, "starcoder2"),
    "rotary gpt, narrow": ("gpt", {"positions": "rotary", "tie_embeddings": False} | NARROW, "starcoder2"),
    "rotary gpt, rms": ("gpt", {"positions": "rotary", "norm": "rms", "activation": "relu2"}, "arcee"),
    "rotary gpt, rms, no biases": (
        "gpt",
        {"positions": "rotary", "norm": "rms", "bias": False, "activation": "relu2"},
        "arcee",
    ),
    "rotary gpt, rms, swiglu": ("gpt", {"positions": "rotary", "norm": "rms", "activation": "swiglu"}, "llama"),
    "modern": ("modern", {}, "qwen3"),
    "modern, another base": ("modern", {"rotary_base": 500.0, "n_kv_head": None}, "qwen3"),
    "modern, no qk_norm": ("modern", {"qk_norm": False}, "llama"),
    "modern, no qk_norm, narrow": ("modern", {"qk_norm": False} | NARROW, "llama"),
    "modern, window": ("modern", LOCAL, "qwen3"),
    "modern, no qk_norm, window": (
        "modern",
        {"qk_norm": False, "attention": "sliding_window", "attention.window": 5, "attention.sinks": 0},
        "mistral",
    ),
    "deep_narrow": ("deep_narrow", {"norm": "rmsnorm", "logit_scale": 0.3}, "llama"),
    "deep_narrow, qk_norm, untied": (
        "deep_narrow",
        {"norm": "rmsnorm", "logit_scale": 2.0, "qk_norm": True, "tie_embeddings": False},
        "qwen3",
    ),
    "modern, narrow": ("modern", NARROW, "qwen3"),
}


@functools.cache
def tokenizer_of(name):
    return TOKENIZERS[name](TITLES, vocab_size=330)


@functools.cache
def composed(model):
    sizes = ["model.d_model=32", "model.n_layer=2", "model.n_head=4", f"data.block_size={BLOCK}"]
    with initialize_config_dir(str(CONFIGS)):
        config = compose("train", overrides=["paths.run_dir=unused", "data=synthetic", f"model={model}", *sizes])
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True))


def exportable(model, changes, tokenizer="bpe"):
    """(config, module) of a net with random weights, all of them, as `load_run` would give it."""
    config = composed(model).copy()
    for key, value in changes.items():
        if key == "attention":
            value = OmegaConf.load(CONFIGS / "model" / "attention" / f"{value}.yaml")
        OmegaConf.update(config.model, key, value, merge=key != "attention")  # a group is replaced, not mixed
    config.tokenizer._target_ = f"frontpage.data.tokenizer.{tokenizer}.{tokenizer}"
    torch.manual_seed(0)
    module = build(config.model, "model", vocab_size=tokenizer_of(tokenizer).vocab_size).eval()
    for name, weight in module.net.named_parameters():
        around_1 = name.endswith("norm.weight")
        with torch.no_grad():
            weight.copy_(torch.randn_like(weight) * 0.3 + around_1)
    module.tokenizer = tokenizer_of(tokenizer)
    return config, module


def ids_of(module, title):
    return torch.tensor([[module.tokenizer.eos_id, *module.tokenizer.encode(title)][:BLOCK]])


def from_folder(folder):
    """(sizes, weights by llama.cpp's names) of a folder for transformers."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    arch = next((key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == config["model_type"]), None)
    layers = config.get("n_layer") or config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(arch or gguf.MODEL_ARCH.LLAMA, layers)  # Mistral is a Llama there
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        transposed = config["model_type"] == "gpt2" and weight.dim() == 2 and ".h." in name
        weights[names.get_name(name, (".weight", ".bias"))] = weight.T if transposed else weight
    sizes = SimpleNamespace(
        layers=layers,
        heads=config.get("n_head") or config["num_attention_heads"],
        eps=config.get("layer_norm_epsilon") or config.get("norm_epsilon") or config["rms_norm_eps"],
        base=config.get("rope_parameters", {}).get("rope_theta"),
        activation=config.get("activation_function") or config["hidden_act"],
        window=config.get("sliding_window"),
        pairs=False,
    )
    return sizes, weights


def from_gguf(path, activation):
    """The same of a file for llama.cpp, which knows its activation by the architecture."""
    import gguf

    from frontpage.export.gguf_file import read

    fields = gguf.GGUFReader(path).fields
    arch = fields["general.architecture"].contents()
    value = {key.removeprefix(f"{arch}."): field.contents() for key, field in fields.items()}
    sizes = SimpleNamespace(
        layers=value["block_count"],
        heads=value["attention.head_count"],
        eps=value.get("attention.layer_norm_epsilon") or value["attention.layer_norm_rms_epsilon"],
        base=value.get("rope.freq_base"),
        activation=activation,
        window=None,
        pairs=arch in ("llama", "arcee"),  # seen in llama.cpp: it turns these in neighbouring pairs
    )
    return sizes, {name: torch.from_numpy(weight.copy()) for name, weight in read(path).items()}


ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "relu2": lambda x: F.relu(x) ** 2, "silu": F.silu}


def logits_by_hand(sizes, weights, tokens):
    """What the architectures compute, written down a second time: tokens (1, T) -> logits (1, T, V)."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def norm(name, x):
        bias = weights.get(f"{name}.bias")
        if bias is not None:
            x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + sizes.eps).sqrt() * weights[f"{name}.weight"]
        return x if bias is None else x + bias

    def turn(x):  # (H, T, D), as complex numbers
        if sizes.base is None:
            return x
        half = x.shape[-1] // 2
        angles = torch.outer(torch.arange(x.shape[1]), sizes.base ** (-torch.arange(half) / half))
        parts = x.unflatten(-1, (half, 2)) if sizes.pairs else x.unflatten(-1, (2, half)).mT
        turned = torch.view_as_complex(parts.contiguous()) * torch.polar(torch.ones_like(angles), angles)
        turned = torch.view_as_real(turned)
        return turned.flatten(-2) if sizes.pairs else turned.mT.flatten(-2)

    def heads(name, x, normed=None):
        width = weights["blk.0.attn_output.weight"].shape[1] // sizes.heads
        x = linear(name, x) if isinstance(name, str) else name
        x = x.unflatten(-1, (-1, width)).transpose(0, 1)
        return norm(normed, x) if f"{normed}.weight" in weights else x

    time = tokens.shape[1]
    distance = torch.arange(time)[:, None] - torch.arange(time)
    hidden = (distance < 0) | (distance >= (sizes.window or time))
    x = weights["token_embd.weight"][tokens[0]]
    x = x + weights["position_embd.weight"][:time] if "position_embd.weight" in weights else x
    for index in range(sizes.layers):
        block = f"blk.{index}."
        y = norm(f"{block}attn_norm", x)
        if f"{block}attn_qkv.weight" in weights:
            q, k, v = (heads(part, None) for part in linear(f"{block}attn_qkv", y).chunk(3, dim=-1))
        else:
            q, k = (turn(heads(f"{block}attn_{one}", y, f"{block}attn_{one}_norm")) for one in "qk")
            v = heads(f"{block}attn_v", y)
        k, v = (part.repeat_interleave(len(q) // len(part), dim=0) for part in (k, v))
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(hidden, -torch.inf)
        x = x + linear(f"{block}attn_output", (scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        y, activation = norm(f"{block}ffn_norm", x), ACTIVATIONS[sizes.activation]
        up = linear(f"{block}ffn_up", y)
        gated = f"{block}ffn_gate.weight" in weights
        x = x + linear(f"{block}ffn_down", activation(linear(f"{block}ffn_gate", y)) * up if gated else activation(up))
    head = weights.get("output.weight", weights["token_embd.weight"])
    return (norm("output_norm", x) @ head.T)[None]
