"""TitleLoader: training batches of packed titles."""

from collections.abc import Sequence

import numpy as np
import torch

from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.epoch_titles import EpochTitles
from frontpage.data.packing import IGNORED, Stream, TitleBatch, Windows, as_batch
from frontpage.data.run_sizes import by_epoch

AT_ONCE = 2**20  # tokens of all processes that are packed together: 50 MB while they are made


class TitleLoader(EpochLoader):
    """Re-packs the titles every epoch and yields batches of `batch_size` windows; the loader of training.

    What is packed at a time is bounded, whatever an epoch has, and what is read of it are this process's windows: with
    several processes each takes every `world_size`-th. `accumulation`, the batches of an update in epoch 0,
    1, ..., and `limit` are for the sizes of epochs (see EpochSizes). Of `changing` titles an epoch has its own tokens.
    """

    def __init__(
        self,
        encoded: EncodedTitles,
        *,
        block_size: int,
        batch_size: int,
        seed: int,
        pad_id: int,
        eos_id: int,
        repack: bool = True,
        drop_tail: bool = False,
        accumulation: Sequence[int] = (1,),
        limit: int | float = 1.0,
        rank: int = 0,
        world_size: int = 1,
        changing: EpochTitles | None = None,
    ) -> None:
        tokens = len(encoded.tokens)
        sizes = EpochSizes(tokens, block_size, batch_size, 1, world_size, drop_tail=drop_tail, limit=limit)
        super().__init__(by_epoch(sizes, accumulation, changing and changing.tokens_of))
        self.encoded, self.block_size, self.batch_size, self.seed = encoded, block_size, batch_size, seed
        self.pad_id, self.eos_id, self.repack, self.drop_tail = pad_id, eos_id, repack, drop_tail
        self.rank, self.world_size, self.changing = rank, world_size, changing
        self._windows: tuple[int, Windows] | None = None  # of an epoch
        self._span: tuple[tuple[int, int], TitleBatch] | None = None  # of the same: own rows of some batches

    def batch(self, epoch: int, index: int) -> TitleBatch:
        """Batch `index` of `epoch` for this process: each field (batch_size, block_size), fewer rows at the end."""
        at_once = max(AT_ONCE // (self.batch_size * self.block_size * self.world_size), 1)
        span, place = divmod(index, at_once)
        if self._span is None or self._span[0] != (epoch, span):
            self._span = None  # room for the next
            rows = at_once * self.batch_size * self.world_size
            own = self._of(epoch).rows(span * rows, (span + 1) * rows, self.rank, self.world_size)
            self._span = ((epoch, span), own)
        batch = as_batch(self._span[1], slice(place * self.batch_size, (place + 1) * self.batch_size))
        return batch if self.world_size == 1 else self._even(batch, epoch, index)

    def _of(self, epoch: int) -> Windows:
        packed_epoch = epoch if self.repack or self.changing else 0
        if self._windows is None or self._windows[0] != packed_epoch:
            self._windows = None
            order = np.arange(len(self.encoded))
            if self.repack:
                order = np.random.default_rng((self.seed, packed_epoch)).permutation(order)
            encoded = self.encoded if self.changing is None else self.changing.of(epoch)
            stream = Stream(encoded, order, self.eos_id)
            self._windows = (packed_epoch, Windows(stream, self.block_size, self.pad_id, self.drop_tail))
        return self._windows[1]

    def _even(self, batch: TitleBatch, epoch: int, index: int) -> TitleBatch:
        """Add the last row of all with ignored targets where this process has one row fewer than others."""
        windows, share = self._of(epoch), self.batch_size * self.world_size
        there = min(len(windows), (index + 1) * share) - index * share
        if len(batch.inputs) * self.world_size >= there:
            return batch
        last = as_batch(windows.rows(len(windows) - 1, len(windows)), slice(None))
        last.targets.fill_(IGNORED)
        return TitleBatch(*map(torch.cat, zip(batch, last, strict=True)))
