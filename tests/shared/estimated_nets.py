"""The nets whose memory is estimated: of every preset and attention, and a plain one."""

import torch
from tiny import composed

from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.build import build
from frontpage.models.gpt import GPT

ROWS, TIME, VOCABULARY = 4, 64, 300
SMALL = ("data=synthetic", "data.block_size=64", "model.d_model=64", "model.n_layer=2", "model.n_head=4")


def module_of(*overrides):  # with the default dropout, which autograd keeps masks of
    config = composed(*SMALL, *overrides)
    torch.manual_seed(0)
    return build(config.model, "model", vocab_size=VOCABULARY)


def plain_gpt(**changes):
    """A GPT without dropout whose sizes have no factor in common with a constant of the formula."""
    sizes = {"vocab_size": 50, "block_size": 64, "d_model": 96, "n_layer": 3, "n_head": 4}
    torch.manual_seed(0)
    return accelerate(GPT(**sizes, attention=CausalAttention, **changes))
