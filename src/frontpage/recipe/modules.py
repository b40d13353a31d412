"""A LightningModule for each architecture: the recipe, and the net that it trains."""

from typing import Any

from frontpage.command.notices import notice
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT
from frontpage.recipe.language_module import LanguageModule


class GPTModule(LanguageModule):
    """Trains a GPT: the keys of LanguageModule and those of GPT."""

    architecture = GPT


class UNetGPTModule(LanguageModule):
    """Trains a UNetGPT: the keys of LanguageModule and those of UNetGPT.

    A notice says where `widths` contradicts `d_model` and `n_layer`, which it replaces.
    """

    architecture = UNetGPT

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        widths, d_model, n_layer = (keys.get(name) for name in ("widths", "d_model", "n_layer"))
        if widths is None:
            return
        replaced = [f"d_model={d_model}"] if widths[0] != d_model else []
        replaced += [f"n_layer={n_layer}"] if len(widths) != n_layer else []
        if replaced:
            spelled = f"widths={list(widths)} replaces {' and '.join(replaced)}"
            notice(f"{spelled}: {len(widths)} layers, the first {widths[0]} wide")
