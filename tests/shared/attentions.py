"""What the tests of attentions share: each variant as its config builds it, and what a layer really sees."""

import torch
from tiny import composed

from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.build import build

WIDTH, HEADS, BLOCK = 64, 4, 64
# How many tokens a head's output for the last of 64 depends on, the mean over 4 heads: one line for each variant.
REACH = {
    "bottleneck": 64,
    "causal": 64,
    "differential": 64,
    "fixed": 32 + 8,
    "gated": 64,
    "gated_delta": 64,
    "local": 32,
    "mla": 64,
    "sliding_window": 32 + 4,
    "sparsek": 8 + 8 + 2,  # window, k, and two whose gate is open in part only: they take part in the gradient
    "strided": (16 + 64 / 16) / 2,
}
# How many numbers a variant's cache holds after 64 tokens, keys and values of 64 each for each token that it keeps: a
# line for each that does not keep all, so for each with a `new_cache` of its own. A window of w keeps w - 1 tokens.
HELD = dict.fromkeys(REACH, 64 * 128) | {
    "gated_delta": 4 * 16 * 16,  # a matrix for each head, however long the title
    "local": 31 * 128,  # with the next token the window is whole
    "mla": 64 * 32,  # what keys and values are made from
    "sliding_window": (31 + 4) * 128,
    "sparsek": (8 + 7) * (128 + 1),  # and the score of each
}
# The settings of the shared projections under which every promise holds.
SETTINGS = {
    "plain": {},
    "rotary": {"rotary": True},
    "grouped": {"n_kv_head": 2},
    "grouped-norm-rotary": {"n_kv_head": 2, "qk_norm": True, "rotary": True, "bias": False},
}


def attention_factory(name):
    """What `model/attention=name` gives an architecture, with the paths that the recipe gives it."""
    make = plain_factory(name)
    return lambda *sizes, **settings: accelerate(make(*sizes, **settings))


def plain_factory(name):
    """The same without the faster paths: what a variant computes by itself."""
    return build(composed(f"model/attention={name}").model.attention, "model.attention")


def inputs(rows, time, seed=1):
    """Inputs as a normalisation would give them."""
    return torch.randn(rows, time, WIDTH, generator=torch.Generator().manual_seed(seed))


def heads_of(attention, x):
    """(H, T, D): what the heads give before they are joined, for one row of inputs (1, T, C)."""
    kept = []
    hook = attention.out.register_forward_pre_hook(lambda layer, given: kept.append(given[0]))
    attention(x)
    hook.remove()
    return kept[0][0].unflatten(-1, (attention.n_head, -1)).transpose(0, 1)


def last_row_sees(attention, time):
    """(H, time): which inputs the last query's output depends on, head by head, by gradients."""
    x = inputs(1, time).requires_grad_()
    rows = [torch.autograd.grad(head[-1].square().sum(), x, retain_graph=True)[0] for head in heads_of(attention, x)]
    return torch.stack([row[0].abs().sum(-1) > 0 for row in rows])


def sees(attention, time):
    """(H, time, time): whether a head's output in the row depends on the input in the column, by gradients."""
    x = inputs(1, time).requires_grad_()
    heads = heads_of(attention, x).square().sum(-1).flatten()
    rows = [torch.autograd.grad(output, x, retain_graph=True)[0] for output in heads]
    return torch.stack([row[0].abs().sum(-1) > 0 for row in rows]).unflatten(0, (attention.n_head, time))
