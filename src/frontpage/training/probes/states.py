"""What a net makes of texts, layer by layer: a vector of each text."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from frontpage.data.tokenizer import TitleTokenizer
from frontpage.models.text_heads import pooled


def token_rows(texts: Sequence[str], tokenizer: TitleTokenizer, longest: int) -> list[np.ndarray]:
    """Each text as `<eos> text`, as a document begins, cut to `longest` tokens."""
    return [np.array([tokenizer.eos_id, *ids[: longest - 1]]) for ids in tokenizer.encode_batch(list(texts))]


def text_vectors(
    net: nn.Module, rows: Sequence[np.ndarray], layers: Collection[int], *, pooling: str, pad_id: int, at_once: int
) -> dict[int, Tensor]:
    """Of each layer a vector of each text, (texts, W) fp32 on the CPU.

    `mean` is over the text's own tokens: the `<eos>` before it, the same for all, is left out. `last` is its last
    token's. `at_once` rows are read together, each a document by itself, with padding behind it that it does not see.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    device = next(net.parameters()).device
    parts: dict[int, list[Tensor]] = {}
    for start in range(0, len(order), at_once):
        some = [rows[row] for row in order[start : start + at_once]]
        lengths = torch.tensor([len(row) - 1 for row in some], device=device)
        tokens = np.full((len(some), max(map(len, some))), pad_id)
        for place, row in enumerate(some):
            tokens[place, : len(row)] = row

        def read(states: Tensor, lengths: Tensor = lengths) -> Tensor:
            return pooled(states[:, 1:].float(), lengths, pooling).cpu()

        for layer, vectors in net.layer_states(torch.from_numpy(tokens).to(device), layers, read).items():
            parts.setdefault(layer, []).append(vectors)
    back = torch.tensor(order).argsort()
    return {layer: torch.cat(found)[back] for layer, found in parts.items()}


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; then every module's own mode and the random generators are as they were."""
    modes = {module: module.training for module in net.modules()}
    device = next(net.parameters()).device
    net.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes.items():
            module.training = training
