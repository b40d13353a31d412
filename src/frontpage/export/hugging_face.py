"""A folder that transformers loads: config.json, model.safetensors, the tokenizer, and how to generate."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, processors

from frontpage.data.tokenizer import EOS, PAD, UNK, TitleTokenizer
from frontpage.export.gpt2 import GPT2
from frontpage.export.layout import Layout
from frontpage.export.llama import ARCEE, LLAMA, MISTRAL, QWEN3, STARCODER2
from frontpage.export.traits import Traits
from frontpage.recipe.language_module import LanguageModule

LAYOUTS = (GPT2, LLAMA, QWEN3, MISTRAL, STARCODER2, ARCEE)


def write(folder: Path, module: LanguageModule, traits: Traits, layout: Layout) -> None:
    """Write all files but the model card."""
    from safetensors.torch import save

    tokenizer = module.tokenizer
    weights = save(
        layout.convert(module.net, traits), {"format": "pt"}
    )  # save_file would make it unreadable for others
    (folder / "model.safetensors").write_bytes(weights)
    write_tokenizer(folder, tokenizer, traits.block_size)
    save_json(
        folder / "config.json",
        {
            "architectures": [layout.architecture],
            "model_type": layout.name,
            "dtype": "float32",
            "vocab_size": traits.vocab_size,
            "tie_word_embeddings": traits.tie_embeddings,
            **special_ids(tokenizer),
            **layout.config(traits),
        },
    )
    save_json(
        folder / "generation_config.json",
        {
            **special_ids(tokenizer),
            "do_sample": True,  # as scripts/generate.py: drawn as learned, from all tokens but two
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "suppress_tokens": tokenizer.never_written,
            "max_length": traits.block_size + 1,  # the last token need not be read again
        },
    )


def write_tokenizer(folder: Path, tokenizer: TitleTokenizer, block_size: int) -> None:
    """The same tokenizer, which puts `<eos>` before a title by itself, and takes the blank off again by itself.

    A title begins after `<eos>` in training, so that is its beginning-of-text token as well.
    """
    tokenizer.save(folder / "tokenizer.json")
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.post_processor = processors.TemplateProcessing(
        single=f"{EOS} $A", pair=f"{EOS} $A {EOS} $B", special_tokens=[(EOS, tokenizer.eos_id)]
    )
    whole.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    whole.save(str(folder / "tokenizer.json"), pretty=False)
    save_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": EOS,
            "eos_token": EOS,
            "pad_token": PAD,
            "unk_token": UNK,
            "model_max_length": block_size,
            "padding_side": "left",
            "split_special_tokens": True,  # "<eos>" inside a title is text
            "clean_up_tokenization_spaces": False,
        },
    )


def special_ids(tokenizer: TitleTokenizer) -> dict[str, int]:
    """What both configs say of the special tokens."""
    return {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as transformers does."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
