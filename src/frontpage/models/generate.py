"""Titles invented by a model, token by token, with a cache."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.scorer import Scorer
from frontpage.models.sampling import Sampling, draw

BATCH = 64  # titles at a time, unless asked otherwise


class Generated(NamedTuple):
    """An invented title, and the natural log of its probability: prompt, what follows, and the end if it came."""

    title: str
    log_prob: float
    tokens: int  # with those of the prompt, without `<eos>`
    ended: bool  # False: cut off, by the block or by `max_tokens`


class Step(NamedTuple):
    """One more token of each of N titles."""

    tokens: Tensor  # (N,); `<eos>` where the title had ended
    log_probs: Tensor  # (N, V), of the model itself, whatever the sampling
    ended: Tensor  # (N,) bool: had ended before this step


class Draft:
    """`num` titles under way that begin with `prompt`; iterating writes one token of each at a time.

    Title i of a `seed` is drawn with its own random numbers, so it is the same however many titles are asked for
    (`first` is the i of the first one here) and whichever are computed together, up to what rounding does to a draw
    that falls between two tokens. A title ends with `<eos>` or after `max_tokens` tokens (null: as many as the block
    holds). With `heal` the prompt's last token may become a longer one that begins like it, so that a prompt may end
    within a word. Raises ValueError for what has no meaning, and for a prompt that cannot begin a title or fills the
    block.
    """

    def __init__(
        self,
        module: Scorer,
        tokenizer: TitleTokenizer,
        prompt: str = "",
        *,
        num: int = 5,
        first: int = 0,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        heal: bool = False,
    ) -> None:
        for name, value in (("num", num), ("max_tokens", max_tokens)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: at least 1")
        self.module, self.tokenizer = module, tokenizer
        self.sampling = sampling or Sampling()
        prompt_ids = encode_prompt(tokenizer, prompt)
        block_size = module.net.block_size
        if len(prompt_ids) >= block_size:
            raise ValueError(
                f"prompt={_shortened(prompt)}: its {len(prompt_ids)} tokens fill the block of {block_size}"
            )
        vocabulary = module.net.vocab_size
        self._drawable = torch.ones(vocabulary, dtype=torch.bool)
        self._drawable[tokenizer.never_written] = False
        self._first_drawable = self._drawable
        if heal and prompt_ids:
            self._first_drawable = self._drawable & tokenizer.beginning_like(prompt_ids.pop())
        self.start = [tokenizer.eos_id, *prompt_ids]
        room = block_size - len(prompt_ids)  # tokens that can still be predicted
        self.room = min(room, max_tokens or room)
        draws = [np.random.default_rng([seed, first + index]).random(self.room) for index in range(num)]
        self._draws = torch.from_numpy(np.stack(draws, axis=1))  # (room, N); training's random numbers stay untouched
        self.prompt_log_probs = torch.empty(0, vocabulary)  # (P, V) for the P tokens of `start` behind `<eos>`
        self.written: list[Tensor] = []  # tokens (N,) of each step
        self.log_prob = torch.zeros(num, dtype=torch.float64)
        self.ended = torch.zeros(num, dtype=torch.bool)

    @torch.no_grad()
    def __iter__(self) -> Iterator[Step]:
        net, device, eos = self.module.net, self.module.device, self.tokenizer.eos_id
        training = net.training
        net.eval()
        try:
            cache = net.new_cache()
            scores = net(torch.tensor([self.start] * len(self.ended), device=device), cache=cache).float().cpu()
            of_prompt = torch.tensor(self.start[1:], dtype=torch.int64)
            self.prompt_log_probs = scores[0, :-1].log_softmax(-1)
            self.log_prob += self.prompt_log_probs.gather(1, of_prompt[:, None]).sum(dtype=torch.float64)
            scores = scores[:, -1]
            # The `<eos>` that opens every title is no repetition.
            seen = torch.zeros_like(scores, dtype=torch.bool).index_fill_(1, of_prompt, True)
            while True:
                chosen = self._choose(scores, seen)
                log_probs = scores.log_softmax(-1)
                step = Step(torch.where(self.ended, eos, chosen), log_probs, self.ended)
                self.log_prob += torch.where(self.ended, 0.0, log_probs.gather(1, chosen[:, None])[:, 0].double())
                self.written.append(step.tokens)
                self.ended = self.ended | (chosen == eos)
                yield step
                if bool(self.ended.all()) or len(self.written) == self.room:
                    return
                seen.scatter_(1, chosen[:, None], True)
                scores = net(chosen[:, None].to(device), cache=cache)[:, -1].float().cpu()
        finally:
            net.train(training)

    def titles(self) -> list[Generated]:
        """The titles as they stand now."""
        rows = torch.stack(self.written, dim=1).tolist() if self.written else [[] for _ in self.ended]
        found = []
        for row, log_prob, ended in zip(rows, self.log_prob.tolist(), self.ended.tolist(), strict=True):
            path = self.start[1:] + list(_until(row, self.tokenizer.eos_id))
            found.append(Generated(self.tokenizer.decode(path), log_prob, len(path), ended))
        return found

    def _choose(self, scores: Tensor, seen: Tensor) -> Tensor:
        """One token for each title, (N,)."""
        at = len(self.written)
        drawable = self._drawable if at else self._first_drawable
        allowed = scores.masked_fill(~drawable, -torch.inf)
        return draw(self.sampling.probabilities(allowed, seen), self._draws[at])


def generate(
    module: Scorer,
    tokenizer: TitleTokenizer,
    *,
    prompt: str = "",
    num: int = 5,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    max_tokens: int | None = None,
    seed: int = 0,
    heal: bool = False,
    batch_size: int = BATCH,
) -> list[Generated]:
    """`num` titles that begin with `prompt`, `batch_size` at a time; `Sampling` and `Draft` explain the rest.

    Raises ValueError.
    """
    settings = {"max_tokens": max_tokens, "seed": seed, "heal": heal}
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    found: list[Generated] = []
    for draft in drafts(module, tokenizer, prompt, num, batch_size, sampling=sampling, **settings):
        for _ in draft:
            pass
        found += draft.titles()
    return found


def drafts(
    module: Scorer, tokenizer: TitleTokenizer, prompt: str, num: int, batch_size: int = BATCH, **settings: Any
) -> Iterator[Draft]:
    """Drafts of `num` titles together, at most `batch_size` in each, none begun; the `settings` are those of `Draft`.

    Raises ValueError.
    """
    if num < 1 or batch_size < 1:
        raise ValueError(f"num={num} batch_size={batch_size}: at least 1")
    for first in range(0, num, batch_size):
        size = min(batch_size, num - first)
        yield Draft(module, tokenizer, prompt, num=size, first=first, **settings)


def encode_prompt(tokenizer: TitleTokenizer, prompt: str) -> list[int]:
    """Token ids of the beginning of a title; ValueError or UserError where the tokenizer would not give it back."""
    if not prompt:
        return []
    if prompt[0].isspace():
        raise ValueError(f"prompt={_shortened(prompt)}: no title begins with a blank")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"prompt={_shortened(prompt)}: not valid UTF-8 at character {error.start}") from error
    ids = tokenizer.encode(prompt)
    tokenizer.check_lossless([prompt], [ids])
    return ids


def _shortened(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")


def _until(row: list[int], end: int) -> Iterator[int]:
    for token in row:
        if token == end:
            return
        yield token
