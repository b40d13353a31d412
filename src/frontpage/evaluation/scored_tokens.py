"""Each token of a title by itself: its nats, its rank, and what the model had expected instead."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontpage.data.encoded import encode_titles
from frontpage.data.packing import IGNORED
from frontpage.data.scoring_rows import ScoringBatch
from frontpage.data.text_sizes import EOS_CHARACTERS
from frontpage.evaluation.losses import token_losses
from frontpage.evaluation.scored_titles import ScoringSettings, scoring_batches
from frontpage.evaluation.scorer import Scorer


@dataclass(frozen=True)
class TokenScore:
    """A token after those before it: nats, rank (1: the likeliest), and the likeliest tokens with their nats."""

    token: int
    nats: float
    rank: int
    alternatives: list[tuple[int, float]]


@dataclass(frozen=True)
class TitleTokens:
    """A title and the scores of its tokens, `<eos>` the last."""

    title: str
    tokens: list[TokenScore]

    @property
    def nats(self) -> float:
        """Of the whole title."""
        return sum(token.nats for token in self.tokens)

    @property
    def characters(self) -> int:
        """Of the title and its end, which counts as five."""
        return len(self.title) + EOS_CHARACTERS


@torch.no_grad()
def score_tokens(
    module: Scorer,
    titles: Sequence[str],
    settings: ScoringSettings,
    top: int = 0,
    watch: str | None = None,
) -> list[TitleTokens]:
    """The titles with each token scored as `ScoredTitles` does it, and its `top` likeliest alternatives.

    `module` is what `load_run` returns, `settings` its `config.data`. `watch` is what a line of progress calls the
    work; without it there is none. Raises UserError for a title that the tokenizer cannot keep.
    """
    encoded = encode_titles(module.tokenizer, titles)
    found: list[list[TokenScore]] = [[] for _ in titles]
    # The windows of a long title come one after the other, since they are equally long.
    for batch in scoring_batches(module, encoded, settings, watch):
        scored = batch.targets != IGNORED
        for title, score in zip(batch.titles[scored].tolist(), _scores(module, batch, top), strict=True):
            found[title].append(score)
    return [TitleTokens(title, tokens) for title, tokens in zip(titles, found, strict=True)]


def likeliest(log_probs: Tensor, top: int) -> list[list[tuple[int, float]]]:
    """For each row of (N, V) its `top` likeliest tokens, with the nats each would cost."""
    best = log_probs.topk(min(top, log_probs.shape[1]), dim=1)
    pairs = zip(best.indices.tolist(), (-best.values).tolist(), strict=True)
    return [list(zip(tokens, nats, strict=True)) for tokens, nats in pairs]


def ranks(log_probs: Tensor, tokens: Tensor) -> list[int]:
    """The place of each of `tokens` (N,) among the tokens of its row (N, V), the likeliest being 1."""
    own = log_probs.gather(1, tokens[:, None])
    return ((log_probs > own).sum(dim=1) + 1).tolist()


def _scores(module: Scorer, batch: ScoringBatch, top: int) -> list[TokenScore]:
    """The scored tokens of a batch, row by row."""
    scored = batch.targets != IGNORED
    hidden = module.net.hidden(batch.inputs, batch.document_ids, batch.positions)[scored]
    targets, head = batch.targets[scored], module.language_head
    found = []
    for some, wanted in zip(hidden.split(256), targets.split(256), strict=True):
        log_probs = head(some).float().log_softmax(-1)
        columns = (wanted, token_losses(some, head, wanted))
        parts = (*(column.tolist() for column in columns), ranks(log_probs, wanted), likeliest(log_probs, top))
        found += [TokenScore(*values) for values in zip(*parts, strict=True)]
    return found
