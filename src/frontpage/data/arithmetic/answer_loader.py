"""Batches of questions of equal length, whose last token is the answer and the only target."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.run_sizes import RunSizes
from frontpage.data.scoring_rows import ScoringBatch


def answer_rows(rows: Sequence[Sequence[int]], eos_id: int) -> TitleBatch:
    """Texts of T tokens as rows of their own, each field (N, T): `<eos>` and the question, of which the last place is
    to say the answer."""
    tokens = torch.tensor([[eos_id, *row] for row in rows])
    inputs, targets = tokens[:, :-1], torch.full_like(tokens[:, 1:], IGNORED)
    targets[:, -1] = tokens[:, -1]
    return TitleBatch(inputs, targets, torch.zeros_like(inputs), torch.arange(inputs.shape[1]).expand_as(inputs))


class AnswerLoader(EpochLoader):
    """The rows in a new order every epoch; each process takes every `world_size`-th row of a batch.

    One that would have a row less than others has one more, without a target: none has an empty batch.
    """

    def __init__(self, rows: TitleBatch, sizes: RunSizes, seed: int, rank: int = 0, one_order: bool = False) -> None:
        super().__init__(sizes)
        self.rows, self.seed, self.rank, self.one_order = rows, seed, rank, one_order

    def batch(self, epoch: int, index: int) -> TitleBatch:
        """Batch `index` of `epoch` for this process; the last of an epoch may have fewer rows."""
        order = np.random.default_rng((self.seed, 0 if self.one_order else epoch)).permutation(len(self.rows.inputs))
        sizes = self.sizes_of(epoch)
        share = sizes.batch_size * sizes.world_size
        all_of_it = order[index * share : (index + 1) * share]
        mine = all_of_it[self.rank :: sizes.world_size]
        batch = TitleBatch(*(field[mine] for field in self.rows))
        if len(mine) * sizes.world_size >= len(all_of_it):
            return batch
        idle = TitleBatch(*(field[all_of_it[-1:]] for field in self.rows))
        idle.targets.fill_(IGNORED)  # of a copy
        return TitleBatch(*map(torch.cat, zip(batch, idle, strict=True)))


class ScoringAnswers:
    """Every row once, in batches of `batch_rows`; each process has every `world_size`-th row."""

    def __init__(self, rows: TitleBatch, batch_rows: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows = rows
        self.batches: Sequence[Tensor] = torch.arange(len(rows.inputs))[rank::world_size].split(batch_rows)

    @property
    def sizes(self) -> list[int]:
        """The tokens of each batch."""
        return [len(chosen) * self.rows.inputs.shape[1] for chosen in self.batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[ScoringBatch]:
        for chosen in self.batches:
            inputs, targets, _, positions = (field[chosen] for field in self.rows)
            yield ScoringBatch(inputs, targets, None, positions, chosen[:, None].expand_as(inputs))
