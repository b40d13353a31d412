"""StoredTitles: titles that lie on the disk, one text after another, and are read when they are asked for."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

AT_ONCE = 10_000  # titles that are read together


class StoredTitles(Sequence[str]):
    """Title i is bytes `offsets[i]` to `offsets[i + 1]` of `folder/name.txt`; a slice is a list of those.

    `hashes` (titles,) uint64 are the first 64 bits of each title's BLAKE2b hash, which a run keeps of what it has seen.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._file = folder, folder / f"{name}.txt"
        self._offsets = np.load(folder / f"{name}_offsets.npy", mmap_mode="r")
        self.hashes = np.load(folder / f"{name}_hashes.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if not isinstance(index, slice):
            return self._between(range(len(self))[index], 1)[0]
        places = range(len(self))[index]
        return self._between(places.start, len(places)) if places.step == 1 else [self[place] for place in places]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self[start : start + AT_ONCE]

    def _between(self, first: int, count: int) -> list[str]:
        offsets = self._offsets[first : first + count + 1].tolist()
        if not count:
            return []
        with self._file.open("rb") as file:
            file.seek(offsets[0])
            text = file.read(offsets[-1] - offsets[0])
        return [text[start - offsets[0] : end - offsets[0]].decode() for start, end in pairwise(offsets)]


def files_of(name: str) -> set[str]:
    """What StoredTitles of that name are read from."""
    return {f"{name}.txt", f"{name}_offsets.npy", f"{name}_hashes.npy"}
