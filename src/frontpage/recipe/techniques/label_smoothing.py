"""Label smoothing: a share of the target goes to all tokens alike (Szegedy et al. 2016, arXiv 1512.00567)."""

from torch import Tensor

from frontpage.command.limits import ShareBelow1
from frontpage.data.packing import TitleBatch
from frontpage.recipe.techniques.technique import Chunk, Moment, Technique, Term


class LabelSmoothing(Technique):
    """The cross-entropy with (1 - `share`) of the target and `share` / V of each of the V tokens, the target too."""

    def __init__(self, *, share: ShareBelow1 = 0.1) -> None:
        self.share = self.replaced = share

    def term(self, batch: TitleBatch, moment: Moment) -> Term | None:
        """share x (the mean nats of all tokens - those of the target)."""
        return self._term if self.share else None

    def _term(self, chunk: Chunk) -> Tensor:
        return self.share * chunk.summed(-chunk.log_shares.mean(-1) - chunk.nats)
