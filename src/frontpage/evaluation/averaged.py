"""Several models' probabilities averaged token by token: what an ensemble of them gives the tokens of titles."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles
from frontpage.evaluation.scored_titles import ScoringSettings, scoring_batches
from frontpage.evaluation.scorer import Scorer


@torch.no_grad()
def token_nats(
    module: Scorer, encoded: EncodedTitles, settings: ScoringSettings, watch: str | None = None
) -> tuple[Tensor, Tensor]:
    """(nats of each token in the order of `encoded`, (tokens,) float64, scored tokens of each title, (titles,)).

    The tokens are scored as `ScoredTitles` does it; nats that were not scored are NaN. Both lie on the CPU.
    """
    nats = torch.full((len(encoded.tokens),), math.nan, dtype=torch.float64)
    first, scored = torch.from_numpy(encoded.offsets), torch.zeros(len(encoded), dtype=torch.int64)
    for batch in scoring_batches(module, encoded, settings, watch):
        values, titles = (part.cpu() for part in module.score(batch))
        # Tokens of a title come in their order, and so do the windows of a long one.
        titles, order = titles.sort(stable=True)
        within = torch.arange(len(titles)) - torch.searchsorted(titles, titles)
        nats[first[titles] + scored[titles] + within] = values[order].double()
        scored += torch.bincount(titles, minlength=len(encoded))
    return nats, scored


def averaged(nats: Iterable[Tensor]) -> Tensor:
    """Nats of each token under the mean of k models' probabilities, from each model's nats, all (tokens,) float64.

    -ln(1/k sum exp(-nats)): only the probability of the token itself is needed, whatever the vocabulary.
    """
    total, count = None, 0
    for one in nats:
        total, count = -one if total is None else torch.logaddexp(total, -one), count + 1
    if total is None:
        raise ValueError("no model to average")
    return math.log(count) - total


def title_sums(nats: Tensor, encoded: EncodedTitles) -> Tensor:
    """Sums over each title of its tokens' nats (tokens,): (titles,) float64."""
    lengths = torch.from_numpy(encoded.lengths)
    return torch.zeros(len(lengths), dtype=torch.float64).index_add_(
        0, torch.arange(len(lengths)).repeat_interleave(lengths), nats
    )
