"""Multi-token prediction with one head: the tokens after the next are targets, too, with weights that fall.

Gloeckle et al. 2024 (arXiv 2404.19737) give each of them a head; in the speedruns of modded-nanogpt and slowrun the
one head learns all of them, and their weights fall to 0 on the way.
"""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.command.limits import Each
from frontpage.command.points import CourseLimit, Points
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.recipe.techniques.technique import Chunk, Moment, Technique, Term

Courses = Annotated[list, Each(CourseLimit())]
FALLING = ([[0, 0.5], [0.667, 0.0]], [[0, 0.25], [0.667, 0.0]])


class MultiTokenPrediction(Technique):
    """The head's logits at t are also scored on the tokens t + 2, t + 3, ..., with one of `weights` for each.

    The next token keeps the weight 1; each of the others has a number or a course. The weighted nats of all are summed
    and divided by the number of next tokens, however many later ones there are. A later token counts where it belongs
    to the same title: behind a title's end, in the next title or the next row there is none.
    """

    def __init__(self, *, weights: Courses = FALLING) -> None:
        self.weights: list[Points] = [Points.of(one, "weights") for one in weights]

    def term(self, batch: TitleBatch, moment: Moment) -> Term | None:
        """The weighted nats of the later tokens."""
        weights = [one.at(*moment) for one in self.weights]
        if not any(weights):
            return None
        later = later_targets(batch, len(weights)).flatten(1)

        def weighted(chunk: Chunk) -> Tensor:
            nats = torch.zeros_like(chunk.nats)
            for weight, targets in zip(weights, later[:, chunk.place], strict=True):
                known = targets.clamp(min=0).expand(len(nats), -1)[..., None]
                nats = nats - weight * chunk.log_shares.gather(-1, known).squeeze(-1) * (targets != IGNORED)
            return chunk.summed(nats)

        return weighted


def later_targets(batch: TitleBatch, count: int) -> Tensor:
    """The targets of the next `count` places, (count, B, T): those of a place's own title, else IGNORED."""
    found = []
    for steps in range(1, count + 1):
        targets = F.pad(batch.targets, (0, steps), value=IGNORED)[:, steps:]
        documents = F.pad(batch.document_ids, (0, steps), value=-1)[:, steps:]
        found.append(targets.where(documents == batch.document_ids, IGNORED))
    return torch.stack(found)
