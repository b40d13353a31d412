"""TitleLoader: training batches of packed titles."""

from collections.abc import Sequence

import numpy as np

from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.epoch_titles import EpochTitles
from frontpage.data.packing import IGNORED, TitleBatch, as_batch, pack
from frontpage.data.run_sizes import by_epoch


class TitleLoader(EpochLoader):
    """Re-packs the titles every epoch and yields batches of `batch_size` windows; the loader of training.

    With several processes each takes every `world_size`-th window. `accumulation`, the batches of an update in epoch 0,
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
        self._packed: tuple[int, TitleBatch] | None = None

    def batch(self, epoch: int, index: int) -> TitleBatch:
        """Batch `index` of `epoch` for this process: each field (batch_size, block_size), fewer rows at the end."""
        packed = self._pack(epoch)
        share = self.batch_size * self.world_size
        windows = as_batch(packed, slice(index * share, (index + 1) * share))
        if self.world_size == 1:
            return windows
        return TitleBatch(*(field[self.rank :: self.world_size] for field in self._even(windows)))

    def _pack(self, epoch: int) -> TitleBatch:
        packed_epoch = epoch if self.repack or self.changing else 0
        if self._packed is None or self._packed[0] != packed_epoch:
            order = np.arange(len(self.encoded))
            if self.repack:
                order = np.random.default_rng((self.seed, packed_epoch)).permutation(order)
            fields = pack(
                self.encoded if self.changing is None else self.changing.of(epoch),
                order,
                self.block_size,
                pad_id=self.pad_id,
                eos_id=self.eos_id,
                drop_tail=self.drop_tail,
            )
            self._packed = (packed_epoch, fields)
        return self._packed[1]

    def _even(self, windows: TitleBatch) -> TitleBatch:
        """Repeat the last row with ignored targets until every process has as many rows as the others."""
        missing = -len(windows.inputs) % self.world_size
        if not missing:
            return windows
        padded = [field[[*range(len(field)), *[-1] * missing]] for field in windows]
        padded[1][-missing:] = IGNORED
        return TitleBatch(*padded)
