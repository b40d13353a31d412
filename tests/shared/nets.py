"""Nets as the presets of configs/model/ make them, without the recipe around."""

from typing import Any

from omegaconf import OmegaConf
from tiny import CONFIGS

from frontpage.models.gpt import GPT

MODERN = {key: value for key, value in OmegaConf.load(CONFIGS / "model/modern.yaml").items() if key != "defaults"}


def Modern(*sizes: Any, **changes: Any) -> GPT:  # noqa: N802 (it stands where tests take an architecture)
    """A GPT with what model=modern changes."""
    return GPT(*sizes, **{**MODERN, **changes})
