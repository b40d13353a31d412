"""Techniques: those that a run has chosen, as one."""

from collections.abc import Mapping

from torch import Tensor

from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.evaluation.losses import loss_of_logits, next_token_loss, targets_in
from frontpage.models.language_head import LanguageHead
from frontpage.recipe.techniques.technique import Chunk, Moment, Technique


class Techniques:
    """The chosen techniques by name; false where there is none, so that nothing of this is on the way.

    Raises ValueError where those that replace the next token's nats would take away more than all of them.
    """

    def __init__(self, chosen: Mapping[str, Technique] | None = None) -> None:
        self.chosen = dict(chosen or {})
        self.passes = max((one.passes for one in self.chosen.values()), default=1)
        replacing = {name: one.replaced for name, one in self.chosen.items() if one.replaced > 0}
        if sum(replacing.values()) > 1:
            shares = " and ".join(f"{name} takes {share:g}" for name, share in replacing.items())
            raise ValueError(f"technique={'+'.join(replacing)}: {shares} of the next token's nats, more than all")

    def __bool__(self) -> bool:
        return bool(self.chosen)

    def read(self, batch: TitleBatch) -> TitleBatch:
        """What the trunk reads of a batch (B, T), pass after pass: (P x B, T)."""
        if self.passes > 1:
            batch = TitleBatch(*(field.repeat(self.passes, 1) for field in batch))
        for one in self.chosen.values():
            batch = one.read(batch)
        return batch

    def loss(self, states: Tensor, head: LanguageHead, batch: TitleBatch, moment: Moment) -> tuple[Tensor, Tensor]:
        """(what training descends, nats of the next token), both a mean over the targets of `batch` (B, T).

        `states` (P x B, T, C) are what the head reads of what `read` gave. Nats are a mean over the passes, too.
        """
        found = (one.term(batch, moment) for one in self.chosen.values())
        terms = [term for term in found if term is not None]
        if not terms and self.passes == 1:
            nats = next_token_loss(states, head.weight, batch.targets, head.cap)
            return nats, nats.detach()
        targets = batch.targets.flatten()

        def of_logits(logits: Tensor, place: slice) -> tuple[Tensor, Tensor]:
            scored, log_shares = targets[place] != IGNORED, logits.log_softmax(-1)
            known = targets[place].where(scored, 0).expand(len(logits), -1)
            nats = -log_shares.gather(-1, known[..., None]).squeeze(-1)
            chunk = Chunk(log_shares, nats, scored, place)
            plain = chunk.summed(nats)
            return sum((term(chunk) for term in terms), start=plain), plain

        by_pass = states.flatten(0, 1).unflatten(0, (self.passes, len(targets)))
        descended, plain = loss_of_logits(by_pass, head.weight, of_logits, head.cap)
        count = targets_in(targets)
        return descended / count, plain / count

    def planned(self) -> "Techniques":
        """The same for the estimate of a step's memory."""
        return Techniques({name: one.planned() for name, one in self.chosen.items()})

    @property
    def idle(self) -> tuple[bool, ...]:
        """Of each whether its newest term was nothing: what the operations of a target depend on."""
        return tuple(one.idle for one in self.chosen.values())

    @property
    def opened(self) -> list[str]:
        """Digests of the weights of other runs that they have opened."""
        return [digest for one in self.chosen.values() for digest in one.opened]

    def flops_per_token(self, block_size: int) -> float:
        """Operations a target beside those of the passes."""
        return sum(one.flops_per_token(block_size) for one in self.chosen.values())
