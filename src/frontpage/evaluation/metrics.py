"""The honest metrics, from the summed negative log-likelihood of each title."""

import math

import torch
import torchmetrics
from torch import Tensor

from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.declared import Metric


class CoverageError(RuntimeError):
    """A token of the set was scored not exactly once: the number would not mean what its name says."""


class TitleScores(torchmetrics.Metric):
    """Negative log-likelihood and scored tokens of each title; sums over batches and processes."""

    full_state_update = False

    def __init__(self, titles: int) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros(titles), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros(titles, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll: Tensor, titles: Tensor) -> None:
        """Add the nats `nll` (N,) of N scored tokens to their `titles` (N,)."""
        self.nll.index_add_(0, titles, nll.float())
        self.tokens.index_add_(0, titles, torch.ones_like(titles))

    def compute(self) -> tuple[Tensor, Tensor]:
        """(nats of each title, scored tokens of each title), both (titles,) on the CPU."""
        return self.nll.cpu().double(), self.tokens.cpu()


HEADLINE = Metric("val/nats_per_char", error="val/nats_per_char_se", unit="nats a character")
HONEST = (
    HEADLINE,
    Metric("val/loss", unit="nats a token"),
    Metric("val/perplexity"),
    Metric("val/bits_per_byte", unit="bits a byte"),
    Metric("val/nats_per_char_se", better=None),
    Metric("val/coverage", better=None),
)


def honest_metrics(
    nll: Tensor, scored: Tensor, sizes: TextSizes, *, prefix: str = "val/", partial: bool = False
) -> dict[str, float]:
    """`loss perplexity nats_per_char nats_per_char_se bits_per_byte coverage` of `docs/metrics.md`, by name.

    `nll` and `scored` are the sums of each title, (titles,). Raises CoverageError unless every token of every title
    was scored once; with `partial` the titles that were not scored whole are left out of every sum but coverage.
    """
    nll, scored = nll.reshape(-1), scored.reshape(-1)  # torchmetrics makes a number of a single title
    whole = scored == sizes.tokens
    coverage = float(scored.sum() / sizes.tokens.sum())
    if not partial and not bool(whole.all()):
        wrong = int((~whole).sum())
        raise CoverageError(f"{wrong} of {len(whole)} titles were not scored exactly once (coverage {coverage:.4f})")
    nll, characters = nll[whole], sizes.characters[whole]
    if len(nll) == 0:
        raise CoverageError("no title was scored whole")
    total = float(nll.sum())
    nats_per_token = total / float(sizes.tokens[whole].sum())
    nats_per_char, error = ratio_with_error(nll, characters)
    return {
        f"{prefix}loss": nats_per_token,
        f"{prefix}perplexity": math.exp(min(nats_per_token, 700.0)),
        f"{prefix}nats_per_char": nats_per_char,
        f"{prefix}nats_per_char_se": error,
        f"{prefix}bits_per_byte": total / math.log(2) / float(sizes.bytes[whole].sum()),
        f"{prefix}coverage": coverage,
    }


def ratio_with_error(sums: Tensor, sizes: Tensor) -> tuple[float, float]:
    """(sum of `sums` / sum of `sizes`, its standard error over titles: delta method), both (titles,) float64.

    With the difference of two models' nats as `sums`, the paired difference. The error of a single title is NaN.
    """
    count, whole = len(sums), float(sizes.sum())
    ratio = float(sums.sum()) / whole
    residual = sums - ratio * sizes
    spread = math.sqrt(count / (count - 1) * float((residual**2).sum())) if count > 1 else math.nan
    return ratio, spread / whole
