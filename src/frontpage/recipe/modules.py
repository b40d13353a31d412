"""A LightningModule for each architecture: the recipe, and the net that it trains."""

from collections.abc import Mapping
from typing import Any

from frontpage.command.notices import notice
from frontpage.models.deep_narrow import DeepNarrow
from frontpage.models.gpt import GPT
from frontpage.models.unet_gpt import UNetGPT
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.multi_task_module import MultiTaskModule


class GPTModule(LanguageModule):
    """Trains a GPT: the keys of LanguageModule and those of GPT.

    A notice says where `positions=learned` leaves a `rotary_share` without effect.
    """

    architecture = GPT

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        _say_unturned(keys)


class DeepNarrowModule(MultiTaskModule):
    """Trains a DeepNarrow: the keys of MultiTaskModule and those of DeepNarrow.

    A notice says where `norm=deepnorm`, which has initial weights of its own, contradicts `init` or
    `scaled_residual_init`.
    """

    architecture = DeepNarrow

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        usual = {"init": "normal", "scaled_residual_init": True}
        replaced = [f"{key}={keys[key]}" for key, value in usual.items() if keys.get(key, value) != value]
        if keys.get("norm") == "deepnorm" and replaced:
            notice(f"norm=deepnorm has initial weights of its own: {' and '.join(replaced)} not used")
        if keys.get("norm") != "deepnorm" and keys.get("scale_gate"):
            notice(f"norm={keys.get('norm')}: scale_gate=true not used, it is of norm=deepnorm")
        _say_unturned(keys)


class UNetGPTModule(LanguageModule):
    """Trains a UNetGPT: the keys of LanguageModule and those of UNetGPT.

    A notice says where `widths` contradicts `d_model` and `n_layer`, which it replaces.
    """

    architecture = UNetGPT

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        _say_unturned(keys)
        widths, d_model, n_layer = (keys.get(name) for name in ("widths", "d_model", "n_layer"))
        if widths is None:
            return
        replaced = [f"d_model={d_model}"] if widths[0] != d_model else []
        replaced += [f"n_layer={n_layer}"] if len(widths) != n_layer else []
        if replaced:
            spelled = f"widths={list(widths)} replaces {' and '.join(replaced)}"
            notice(f"{spelled}: {len(widths)} layers, the first {widths[0]} wide")


def _say_unturned(keys: Mapping[str, Any]) -> None:
    if keys.get("positions") == "learned" and keys.get("rotary_share", 1) != 1:
        notice(f"positions=learned: rotary_share={keys['rotary_share']} not used, it is of positions=rotary")
