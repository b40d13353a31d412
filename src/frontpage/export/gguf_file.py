"""A single file that llama.cpp loads (GGUF): metadata, vocabulary and weights, from the layouts of transformers."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from frontpage.command.errors import BadValue
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.export.gpt2 import GPT2
from frontpage.export.layout import Layout
from frontpage.export.llama import ARCEE, LLAMA, QWEN3, STARCODER2
from frontpage.export.traits import Traits
from frontpage.recipe.language_module import LanguageModule

PRECISIONS = ("fp32", "fp16", "q8_0")
# What llama.cpp computes of them: one activation each, and no window (read in its src/models, and run).
LAYOUTS = (
    GPT2.restricted({"activation": ("gelu",)}),
    LLAMA,
    QWEN3.restricted({"attention": ("causal", "narrow")}),
    STARCODER2.restricted({"activation": ("gelu",), "attention": ("causal",)}),
    ARCEE.restricted({"activation": ("relu2",), "bias": (False,)}),
)
TURNED_IN_PAIRS = ("llama", "arcee")  # rotary positions of neighbouring numbers there, of the two halves elsewhere
Q8_BLOCK = 32  # numbers that share a scale


def check_gguf(tokenizer: TitleTokenizer, traits: Traits, precision: str, name: str) -> None:
    """Raise a UserError for a tokenizer (of that `name`) or a precision that the file cannot hold."""
    if _model_of(tokenizer)["type"] != "BPE":
        raise BadValue("tokenizer", name, "llama.cpp has no such model over bytes; --format hf keeps it")
    if precision == "q8_0":
        rows = {"model.d_model": traits.d_model, "model.d_ff": traits.d_ff}
        rows["model.attention.d_inner"] = traits.n_head * traits.head_width
        for key, length in rows.items():
            allowed = f"--precision q8_0 needs rows that are multiples of {Q8_BLOCK}; take fp16 or fp32"
            if length % Q8_BLOCK != 0:
                raise BadValue(key, length, allowed)
    elif precision not in PRECISIONS:
        raise BadValue("--precision", precision, f"one of {' '.join(PRECISIONS)}")


def write(
    path: Path, module: LanguageModule, traits: Traits, layout: Layout, precision: str, name: str
) -> dict[str, np.ndarray]:
    """Write the file, a model called `name`; what was meant to go into it, in fp32, by llama.cpp's names."""
    import gguf

    logging.getLogger("gguf").setLevel(logging.WARNING)  # it would tell of every file
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == layout.name)
    writer = gguf.GGUFWriter(path, layout.name)
    writer.add_name(name)
    writer.add_block_count(traits.n_layer)
    writer.add_context_length(traits.block_size)
    writer.add_embedding_length(traits.d_model)
    writer.add_feed_forward_length(traits.d_ff)
    writer.add_head_count(traits.n_head)
    writer.add_head_count_kv(traits.n_head if layout.name == "gpt2" else traits.n_kv_head)
    writer.add_vocab_size(traits.vocab_size)
    (writer.add_layer_norm_eps if traits.norm == "layer" else writer.add_layer_norm_rms_eps)(traits.eps)
    if traits.positions == "rotary":
        writer.add_rope_freq_base(traits.rotary_base)
        writer.add_rope_dimension_count(traits.head_width)
        writer.add_key_length(traits.head_width)
        writer.add_value_length(traits.head_width)
    kinds = {"fp32": gguf.GGMLQuantizationType.F32, "fp16": gguf.GGMLQuantizationType.F16}
    kind = kinds.get(precision, gguf.GGMLQuantizationType.Q8_0)
    files = {"fp32": gguf.LlamaFileType.ALL_F32, "fp16": gguf.LlamaFileType.MOSTLY_F16}
    writer.add_file_type(files.get(precision, gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, module.tokenizer)

    names, written = gguf.get_tensor_name_map(arch, traits.n_layer), {}
    for theirs, weight in layout.convert(module.net, traits).items():
        name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        content = np.ascontiguousarray(_as_llama_cpp_has_it(theirs, weight, traits, layout).numpy())
        # Vectors stay exact, and so do positions, which are added and never multiplied.
        exact = content.ndim == 1 or name.startswith("position_embd")
        stored = content if exact else gguf.quants.quantize(content, kind)
        writer.add_tensor(name, stored, raw_dtype=gguf.GGMLQuantizationType.F32 if exact else kind)
        written[name] = content
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def read(path: Path) -> dict[str, np.ndarray]:
    """The weights of a file in fp32, by llama.cpp's names."""
    import gguf

    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors
    }


def _as_llama_cpp_has_it(name: str, weight: Tensor, traits: Traits, layout: Layout) -> Tensor:
    """GPT-2's linear layers the usual way round; queries and keys in the order of llama.cpp's rotary positions."""
    if layout.name == "gpt2" and weight.dim() == 2 and name.startswith("transformer.h."):
        return weight.T
    if layout.name in TURNED_IN_PAIRS and (".q_proj." in name or ".k_proj." in name):
        halves = weight.unflatten(0, (-1, 2, traits.head_width // 2))  # (H, 2, D / 2, ...)
        return halves.transpose(1, 2).flatten(0, 2)
    return weight


def _add_tokenizer(writer: Any, tokenizer: TitleTokenizer) -> None:
    """The vocabulary, as byte-level BPE; llama.cpp puts `<eos>` before a text, but no blank."""
    import gguf

    tokens = [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
    special, usual = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    never = {tokenizer.eos_id, *tokenizer.never_written}
    writer.add_token_types([special if index in never else usual for index in range(len(tokens))])
    # The format knows no empty list; a pair without its second half is never met.
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in _model_of(tokenizer)["merges"]]
    writer.add_token_merges(merges or [tokens[-1]])
    writer.add_bos_token_id(tokenizer.eos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_unk_token_id(tokenizer.unk_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _model_of(tokenizer: TitleTokenizer) -> dict:
    return json.loads(tokenizer.to_json())["model"]
