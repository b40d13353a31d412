"""What the tests of precision modes share: each by its name, and why one is skipped where it is."""

import importlib.util

import pytest
from omegaconf import OmegaConf
from tiny import CONFIGS, options

from frontpage.command.build import build
from frontpage.recipe.precision.fp8 import Fp8

BITSANDBYTES, TORCHAO = ("int8_optim",), ("bf16_true", "int8_mixed", "int8_weight", "int8_qat", "int4_qat", "fp8")
DEVICES = {"fp16": "fp16 is for GPUs: precision=fp16 is refused on a CPU"}
NEEDED = dict.fromkeys(BITSANDBYTES, "bitsandbytes") | dict.fromkeys(TORCHAO, "torchao")
# Bytes a weight of a converted matrix, rows of 128, by the closed formulas: weights, gradients, optimizer state.
# A factor of 8-bit averages is of 256 numbers and takes 4 bytes.
BYTES = {
    "fp32": (4, 4, 8),
    "bf16": (4, 4, 8),
    "bf16_true": (2, 2, 4),
    "int8_optim": (4, 4, 2 * (1 + 4 / 256)),
    "int8_mixed": (4, 4, 8),
    "int8_weight": (1 + 2 / 128, 2, 4),
    "int8_qat": (4, 4, 8),
    "int4_qat": (4, 4, 8),
    "fp8": (4, 4, 8),
}


def marked(name):
    """A mode as a parameter, skipped with the reason where it cannot run here."""
    package = NEEDED.get(name)
    reason = DEVICES.get(name)
    if package and importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed (the extra quantised)"
    return pytest.param(name, marks=[pytest.mark.skip(reason=reason)] if reason else [])


MODES = [marked(name) for name in options("precision")]
TRAINED = [marked(name) for name in options("precision") if name != "fp8"]  # by train.py on this CPU
needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")


def mode_named(name, **changes):
    """The mode that a config stands for; fp8 computed in fp32."""
    mode = build(OmegaConf.merge(OmegaConf.load(CONFIGS / "precision" / f"{name}.yaml"), changes), "precision")
    if isinstance(mode, Fp8):
        mode.emulated = True
    return mode
