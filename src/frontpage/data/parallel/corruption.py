"""Corruption: tokens that the language task may not read, while it still predicts all of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontpage.command.points import Points
from frontpage.data.packing import TitleBatch
from frontpage.data.tokenizer import TitleTokenizer

KINDS = ("none", "token", "word", "span")
SPANS = (3, 4, 5)  # words; a batch has one length


class Corruption:
    """Replaces inputs of training windows by the token `<mask>`; targets and validation stay as they are.

    `kind` says what is masked: a `token`, a whole `word`, or a `span` of 3 to 5 words, one length a batch, begun so
    rarely that about as much is masked. `share` of the tokens, or a course of it over updates, is expected to be. A
    word is a token that begins with a blank or a line, and what follows up to the next one; `<eos>` is never masked.
    A batch's mask is a function of the seed and its micro-step.
    """

    def __init__(self, kind: str, share: Points, tokenizer: TitleTokenizer, seed: int) -> None:
        self.kind, self.share, self.seed = kind, share, seed
        self.mask_id, self.eos_id = tokenizer.mask_id, tokenizer.eos_id
        starts = [tokenizer.token_bytes(token)[:1] in ("Ġ", "Ċ") for token in range(tokenizer.vocab_size)]
        self.starts = torch.tensor(starts)
        self.starts[[tokenizer.eos_id, tokenizer.pad_id]] = True

    def masked(self, batch: TitleBatch, step: int, update: int) -> TitleBatch:
        """The batch with some inputs masked, as is due at an update."""
        share = min(self.share.at(update), 1.0)
        if self.kind == "none" or share == 0:
            return batch
        draws = np.random.default_rng((self.seed, step, 0))
        chosen = WAYS[self.kind](self, batch.inputs, share, draws) & (batch.inputs != self.eos_id)
        return batch._replace(inputs=torch.where(chosen, self.mask_id, batch.inputs))

    def _tokens(self, inputs: Tensor, share: float, draws: np.random.Generator) -> Tensor:
        return torch.from_numpy(draws.random(inputs.shape) < share)

    def _words(self, inputs: Tensor, share: float, draws: np.random.Generator) -> Tensor:
        words = self._word_numbers(inputs)
        return _of_words(draws.random((len(inputs), int(words.max()) + 1)) < share, words)

    def _spans(self, inputs: Tensor, share: float, draws: np.random.Generator) -> Tensor:
        words, length = self._word_numbers(inputs), int(draws.choice(SPANS))
        begun = draws.random((len(inputs), int(words.max()) + length)) < 1 - (1 - share) ** (1 / length)
        covered = np.stack([begun[:, length - 1 - back : begun.shape[1] - back] for back in range(length)]).any(0)
        return _of_words(covered, words)

    def _word_numbers(self, inputs: Tensor) -> Tensor:
        """Of each token the number of its word in its row, (B, T)."""
        return self.starts[inputs].long().cumsum(1)


def _of_words(chosen: np.ndarray, words: Tensor) -> Tensor:
    return torch.from_numpy(chosen).gather(1, words)


WAYS: dict[str, Callable[..., Any]] = {
    "token": Corruption._tokens,
    "word": Corruption._words,
    "span": Corruption._spans,
}
