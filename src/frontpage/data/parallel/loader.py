"""ParallelLoader: training batches of several tasks, one task a micro-batch."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import TitleBatch, as_batch, pack
from frontpage.data.parallel.corruption import Corruption
from frontpage.data.parallel.examples import DrawsExamples, Texts
from frontpage.data.parallel.side import Side
from frontpage.data.parallel.task_order import TaskOrder

LM = "lm"  # the task of the next token, whose examples are windows of documents


class Windows:
    """Full windows of packed documents without end: pass after pass over them, each in a new order.

    What does not fill a window at the end of a pass is left out of it; another pass has another order, so no text is
    left out for good. Window i is the same however many a batch takes.
    """

    def __init__(
        self, encoded: EncodedTitles, block_size: int, seed: int, *, pad_id: int, eos_id: int, repack: bool = True
    ) -> None:
        self.encoded, self.block_size, self.seed, self.repack = encoded, block_size, seed, repack
        self.pad_id, self.eos_id = pad_id, eos_id
        self.count = len(encoded.tokens) // block_size  # of a pass
        self._passes: dict[int, TitleBatch] = {}

    def batch(self, windows: np.ndarray) -> TitleBatch:
        """Windows by their numbers (B,): each field (B, block_size) int64."""
        passes, places = np.divmod(windows, self.count)
        for gone in self._passes.keys() - {*passes.tolist()}:
            del self._passes[gone]
        rows = [[field[place] for field in self._pass(one)] for one, place in zip(passes, places, strict=True)]
        return as_batch(TitleBatch(*map(np.stack, zip(*rows, strict=True))), slice(None))

    def _pass(self, number: int) -> TitleBatch:
        if number not in self._passes:
            draws = np.random.default_rng((self.seed, int(number) if self.repack else 0))
            order = draws.permutation(len(self.encoded))
            packed = pack(self.encoded, order, self.block_size, pad_id=self.pad_id, eos_id=self.eos_id)
            self._passes[number] = packed
        return self._passes[number]


class ParallelLoader(EpochLoader):
    """Micro-batches whose tasks are those of a TaskOrder; an epoch is what the language task needs for one pass.

    Every micro-batch weighs the same in its update. Micro-step s of a run is the same for any number of processes that
    share its rows: each takes every `world_size`-th window or example of what all of them draw alike.
    """

    def __init__(
        self,
        sizes: EpochSizes,
        order: TaskOrder,
        windows: Windows,
        tasks: Mapping[str, tuple[DrawsExamples, int]],
        side: Side,
        texts: Texts,
        *,
        seed: int,
        rank: int = 0,
        one_epoch: bool = False,
        corruption: Corruption | None = None,
    ) -> None:
        super().__init__(sizes)
        self.order, self.windows, self.tasks = order, windows, tasks  # of a task, and the examples of a micro-batch
        self.side, self.texts, self.seed, self.rank, self.one_epoch = side, texts, seed, rank, one_epoch
        self.corruption = corruption

    def step(self, epoch: int, index: int) -> int:
        """The number of a micro-step since the run began."""
        return index if self.one_epoch else self.run_sizes.batches(epoch) + index

    def batch(self, epoch: int, index: int) -> Any:
        """A TitleBatch (B, T) of the language task, or a PairBatch."""
        step = self.step(epoch, index)
        name, before = self.order.at(step)
        sizes = self.sizes_of(epoch)
        world, own = sizes.world_size, slice(self.rank, None, sizes.world_size)
        if name == LM:
            rows = np.arange(sizes.batch_size * world)
            if self.corruption is None:
                return self.windows.batch(before * len(rows) + rows[own])
            whole = self.windows.batch(before * len(rows) + rows)
            return TitleBatch(*(field[own] for field in self.corruption.masked(whole, step, sizes.update_of_run(step))))
        task, count = self.tasks[name]
        draws = np.random.default_rng((self.seed, zlib.crc32(name.encode()), before, 0))
        return self.texts.batch(task.draw(self.side, count * world, draws), name, task, own)
