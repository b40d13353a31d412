"""R-Drop: two passes with different dropout must agree (Liang et al. 2021, arXiv 2106.14448)."""

from torch import Tensor

from frontpage.command.points import Course, Points
from frontpage.data.packing import TitleBatch
from frontpage.recipe.techniques.technique import Moment, Technique, Term


class RDrop(Technique):
    """Each title goes through the net twice; what is descended is the mean of both cross-entropies + `alpha` D.

    D = (KL(p || q) + KL(q || p)) / 2 in nats a target, p and q being both passes' probabilities over the vocabulary;
    gradients go through both. `alpha` is a number or a course; the paper, which adds both cross-entropies up, has twice
    as much. Both passes are one batch of twice the rows.
    """

    passes = 2

    def __init__(self, *, alpha: Course = 2.0) -> None:
        self.alpha = Points.of(alpha, "alpha")

    def term(self, batch: TitleBatch, moment: Moment) -> Term | None:
        """alpha D."""
        alpha = self.alpha.at(*moment)
        return None if alpha == 0 else lambda chunk: alpha * (divergence(chunk.log_shares) * chunk.scored).sum()


def divergence(log_shares: Tensor) -> Tensor:
    """The symmetric divergence of two passes (2, n, V) in nats, (n,): half of sum (p - q) (log p - log q)."""
    one, other = log_shares
    return ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2
