"""Sampling of titles, token by token, with a cache."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from frontpage.tokenizer import TitleTokenizer

if TYPE_CHECKING:
    from frontpage.models.language_module import LanguageModule


class Generated(NamedTuple):
    """An invented title, and the natural log of its probability: prompt, what follows, and the end if it came."""

    title: str
    log_prob: float


@torch.no_grad()
def generate(
    module: "LanguageModule",
    tokenizer: TitleTokenizer,
    *,
    prompt: str = "",
    num: int = 5,
    temperature: float = 1.0,
    top_k: int | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
) -> list[Generated]:
    """`num` titles that begin with `prompt`; the same `seed` gives the same titles.

    A title ends with `<eos>` or after `max_tokens` tokens (null: as many as the block holds). Raises ValueError for a
    negative temperature, a `top_k`, `num` or `max_tokens` below 1, or a prompt that fills the block.
    """
    if temperature < 0 or (top_k is not None and top_k < 1) or num < 1:
        raise ValueError(f"temperature={temperature} top_k={top_k} num={num}: at least 0, 1 and 1")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens}: at least 1, or null")
    net, device = module.net, module.device
    start = [tokenizer.eos_id, *(tokenizer.encode(prompt) if prompt else [])]
    room = net.block_size - len(start) + 1  # tokens that can still be predicted
    if room < 1:
        raise ValueError(f"prompt={prompt!r}: {len(start) - 1} tokens fill the block of {net.block_size}")
    room = min(room, max_tokens or room)
    training = net.training
    net.eval()
    generator = torch.Generator().manual_seed(seed)  # not the global one: training must not notice
    tokens = torch.tensor([start] * num, device=device)
    cache = net.new_cache()
    log_prob = torch.zeros(num, dtype=torch.float64)
    logits = net(tokens, cache=cache).float().log_softmax(-1).cpu()
    for place in range(1, len(start)):
        log_prob += logits[:, place - 1, start[place]]
    ended = torch.zeros(num, dtype=torch.bool)
    written: list[Tensor] = []
    last = logits[:, -1]
    for _ in range(room):
        chosen = _choose(last, temperature, top_k, tokenizer, generator)
        log_prob += torch.where(ended, 0.0, last.gather(1, chosen[:, None])[:, 0].double())
        written.append(torch.where(ended, tokenizer.eos_id, chosen))
        ended |= chosen == tokenizer.eos_id
        if bool(ended.all()) or len(written) == room:
            break
        last = net(chosen[:, None].to(device), cache=cache)[:, -1].float().log_softmax(-1).cpu()
    net.train(training)
    rows = torch.stack(written, dim=1).tolist()
    titles = [tokenizer.decode(start[1:] + list(_until(row, tokenizer.eos_id))) for row in rows]
    return [Generated(title, float(value)) for title, value in zip(titles, log_prob, strict=True)]


def _choose(
    log_probs: Tensor, temperature: float, top_k: int | None, tokenizer: TitleTokenizer, generator: torch.Generator
) -> Tensor:
    """One token for each row of (N, V); never `<pad>` or `<unk>`."""
    allowed = log_probs.clone()
    allowed[:, [tokenizer.pad_id, tokenizer.unk_id]] = -torch.inf
    if top_k is not None and top_k < allowed.shape[1]:
        least = allowed.topk(top_k, dim=1).values[:, -1:]
        allowed = allowed.masked_fill(allowed < least, -torch.inf)
    if temperature == 0:
        return allowed.argmax(dim=1)
    return torch.multinomial((allowed / temperature).softmax(dim=1), 1, generator=generator)[:, 0]


def _until(row: list[int], end: int) -> Iterator[int]:
    for token in row:
        if token == end:
            return
        yield token
