"""How deep nets begin: the loss after each of the first updates, as they are built here and as PyTorch builds layers.

The second is what the presets of the original did (docs/log.md): alpha without beta, embeddings N(0, 1), linear layers
uniform, no logit scale.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.command.progress_line import watched
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.tokenizer.bpe import bpe
from frontpage.evaluation.losses import next_token_loss
from frontpage.models.deep_narrow import NORMS, DeepNarrow
from frontpage.recipe.parameter_groups import decay_groups

SHOWN = (0, 1, 2, 5, 10, 20, 30, 40, 50)  # updates after which the loss is measured
BATCH, BLOCK, VOCABULARY, TITLES = 4, 32, 2048, 20_000
LR, WARM_UP, BETAS, DECAY, CLIP = 2e-4, 10, (0.9, 0.95), 0.08, 1.0
FORM = re.compile(rf"([1-9]\d*)x([1-9]\d*)x([1-9]\d*):({'|'.join(NORMS)})")


class Sizes(NamedTuple):
    """A net: layers, width, heads, and where it is normalised."""

    layers: int
    width: int
    heads: int
    norm: str

    @classmethod
    def read(cls, text: str) -> "Sizes":
        """`77x384x6:layernorm`; ValueError for another form."""
        found = FORM.fullmatch(text)
        if not found:
            raise ValueError(f"{text}: LAYERSxWIDTHxHEADS:NORM, such as 77x384x6:layernorm; norms: {' '.join(NORMS)}")
        return cls(*map(int, found.groups()[:3]), found[4])

    def __str__(self) -> str:
        return f"{self.layers} x {self.width} {self.norm}"


def compare(nets: Sequence[Sizes], updates: int, seed: int = 0) -> list[dict[str, Any]]:
    """For each net and each start (`ours`, `pytorch`): its size, and nats a token of a batch that is not trained on."""
    tokens = batches(updates + 1, seed)
    return [
        {"net": str(sizes), "start": start, **losses_of(sizes, start, tokens, seed)}
        for sizes in nets
        for start in ("ours", "pytorch")
    ]


def losses_of(sizes: Sizes, start: str, tokens: Tensor, seed: int) -> dict[str, Any]:
    """`parameters`, and `losses` by the number of updates before; the first of `tokens` (N, B, T + 1) is measured."""
    net = build(sizes, start, seed)
    optimizer = torch.optim.AdamW(decay_groups(net, DECAY), lr=LR, betas=BETAS, fused=True)
    losses = {0: loss_of(net, tokens[0], training=False)}
    for done, batch in enumerate(watched(tokens[1:], f"{sizes}, {start}", [1] * (len(tokens) - 1)), start=1):
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, done / WARM_UP)
        optimizer.zero_grad()
        loss_of(net, batch).backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        if done in SHOWN:
            losses[done] = loss_of(net, tokens[0], training=False)
    parameters = sum(weight.numel() for weight in net.parameters())
    return {"parameters": parameters, "losses": {done: float(loss) for done, loss in losses.items()}}


def build(sizes: Sizes, start: str, seed: int) -> DeepNarrow:
    """The net with its own initial weights (`ours`), or those of PyTorch's layers and no logit scale (`pytorch`)."""
    torch.manual_seed(seed)
    scale = None if start == "ours" else 1.0
    shape = (VOCABULARY, BLOCK, sizes.width, sizes.layers, sizes.heads)
    net = accelerate(DeepNarrow(*shape, CausalAttention, norm=sizes.norm, logit_scale=scale))
    if start == "pytorch":
        for block in net.blocks:
            for layer in (layer for layer in block.modules() if isinstance(layer, nn.Linear)):
                layer.reset_parameters()
        net.token_embedding.reset_parameters()
    return net


def loss_of(net: DeepNarrow, tokens: Tensor, training: bool = True) -> Tensor:
    """Mean nats a token of `tokens` (B, T + 1), each row one document."""
    with torch.set_grad_enabled(training):
        return next_token_loss(net.hidden(tokens[:, :-1]), net.head.weight, tokens[:, 1:])


def batches(count: int, seed: int) -> Tensor:
    """(count, B, T + 1) tokens: rows of titles of the embedded grammar, one after the other, no row twice."""
    titles = title_grammar().sample(TITLES, seed=seed)
    tokenizer = bpe(titles, vocab_size=VOCABULARY)
    stream = [token for title in titles for token in (tokenizer.eos_id, *tokenizer.encode(title))]
    rows = np.array(stream[: len(stream) // (BLOCK + 1) * (BLOCK + 1)]).reshape(-1, BLOCK + 1)
    order = np.random.default_rng(seed).permutation(len(rows))[: count * BATCH]
    return torch.from_numpy(rows[order]).reshape(-1, BATCH, BLOCK + 1)


def table(result: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """Its cells, the heading first: a row for each net and start, a column for each number of updates."""
    shown = list(result[0]["losses"]) if result else []
    yield ["net", "start", "parameters", *map(str, shown)]
    for row in result:
        losses = [f"{row['losses'][done]:.2f}" for done in shown]
        yield [row["net"], row["start"], f"{row['parameters']:,}", *losses]
