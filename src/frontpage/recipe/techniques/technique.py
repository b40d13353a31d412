"""Technique: what a technique of training may change - what the trunk reads, how often, and what is descended."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from frontpage.data.packing import TitleBatch
from frontpage.data.tokenizer import TitleTokenizer

Reopen = Callable[[str], Any]  # a run's directory -> its LanguageModule, which has a `tokenizer`


class Moment(NamedTuple):
    """Where a run stands: what the `Points` of a course are asked with."""

    update: int
    total: int  # of the whole run; 0 before that is known


class Chunk(NamedTuple):
    """Some of a batch's B x T places, n of them, as P passes predict the next token there."""

    log_shares: Tensor  # (P, n, V), natural logarithms of the probabilities, at least fp32
    nats: Tensor  # (P, n), of the next token; without meaning where there is no target
    scored: Tensor  # (n,) bool, where there is one
    place: slice  # which of the flattened places

    def summed(self, values: Tensor) -> Tensor:
        """The sum of `values` (P, n) over the places with a target, of the mean over the passes; a scalar."""
        return (values * self.scored).sum() / len(values)


Term = Callable[[Chunk], Tensor]  # a scalar, summed over the chunk's places with a target


class Technique:
    """What training descends beside the mean nats of the next token: a term, or another way to read a batch.

    Terms are added, each divided by the number of targets, so that techniques compose in any order. Whatever changes
    over a run is a function of the Moment, and what is drawn comes from torch's own random numbers, as dropout does;
    neither is a state. No technique is on the way of a validation.
    """

    passes = 1  # how often the trunk reads each title, with dropout of its own
    idle = False  # whether the newest term was nothing and cost nothing
    opened: tuple[str, ...] = ()  # digests of the weights of other runs that it has opened
    teachers_of: tuple[str, ...] = ()  # the directories of these runs
    replaced = 0.0  # the largest share of the next token's nats that the term takes away

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """Take what is known once the data is read; `reopen` opens another run. Raises UserError."""

    def read(self, batch: TitleBatch) -> TitleBatch:
        """What the trunk reads of a batch, whose rows are repeated for each pass; its targets are not looked at."""
        return batch

    def term(self, batch: TitleBatch, moment: Moment) -> Term | None:
        """What is added to the nats of a batch (B, T) at a moment; None where that is nothing."""
        return None

    def planned(self) -> "Technique":
        """The same for the estimate of a step's memory, where no tensor has numbers."""
        return self

    def flops_per_token(self, block_size: int) -> float:
        """Operations a target beside those of the passes, in a document of `block_size` tokens."""
        return 0.0
