"""The knobs of each attention variant, for searches over variants: `hparams_search=conditional`."""

from typing import Any

import optuna
from omegaconf import DictConfig

WINDOWS = (4, 8, 16, 32, 64)  # Optuna demands the same choices wherever a name occurs
KNOBS: dict[str, dict[str, tuple[Any, ...]]] = {
    "bottleneck": {"d_inner": (64, 128, 256)},
    "local": {"window": WINDOWS},
    "strided": {"stride": (8, 16, 32), "alternate": ("head", "layer", "none")},
    "fixed": {"block": (32, 64), "summary": (4, 8), "groups": (1, 2, 4)},  # every combination is a valid pattern
    "sliding_window": {"window": WINDOWS, "sinks": (0, 1, 4)},
    "mla": {"d_latent": (32, 64, 128), "d_rope": (8, 16, 32)},
    "sparsek": {"k": (4, 8, 16, 32), "window": WINDOWS, "gate": ("straight_through", "soft", "hard")},
}


def attention_knobs(config: DictConfig, trial: optuna.Trial) -> None:
    """Suggest what the trial's `model/attention` has to choose; a variant without an entry has no knobs.

    Parameters are named by their keys, so that what is learned of one variant's window is not lost on another's.
    """
    variant = trial.params["model/attention"]
    for knob, choices in KNOBS.get(variant, {}).items():
        trial.suggest_categorical(f"model.attention.{knob}", choices)
