"""What the tests of optimizers share: each by its name, the smallest net, and gradients for it."""

import functools
import importlib.util

import pytest
import torch
from omegaconf import OmegaConf
from tiny import CONFIGS, options

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.recipe.modules import GPTModule

VOCABULARY, ROWS, TIME = 40, 4, 12
NEEDS = {"adamw_8bit": "bitsandbytes"}  # optimizer -> its extra's package


def missing(name):
    """Marks for an optimizer whose package is not installed."""
    package = NEEDS.get(name)
    absent = package is not None and importlib.util.find_spec(package) is None
    return [pytest.mark.skip(reason=f"{package} is not installed")] if absent else []


OPTIMIZERS = [pytest.param(name, marks=missing(name)) for name in options("optimizer")]


@functools.cache
def chosen(group, name):
    """The factory that a config of an optimizer or a schedule stands for."""
    return build(OmegaConf.load(CONFIGS / group / f"{name}.yaml"), group)


def module_of(optimizer="adamw", scheduler="constant", **changes):
    """The smallest GPT, always with the same weights."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "block_size": TIME, "d_model": 16, "n_layer": 1, "n_head": 2}
    factories = {"optimizer": chosen("optimizer", optimizer), "scheduler": chosen("scheduler", scheduler)}
    return GPTModule(**{**sizes, **factories, "attention": CausalAttention, **changes})


def give_gradients(net, seed):
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)
