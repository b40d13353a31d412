"""Which titles a run has trained on, kept as hashes: enough to recognise a title, too little to read one."""

import hashlib
import zipfile
from collections.abc import Iterable

import numpy as np

from frontpage.command.disk_full import replacing
from frontpage.data.stored_titles import StoredTitles
from frontpage.runs.run import Run


def title_hashes(titles: Iterable[str]) -> np.ndarray:
    """The first 64 bits of each title's BLAKE2b hash, (titles,) uint64; outer blanks count nothing."""
    if isinstance(titles, StoredTitles):
        return titles.hashes
    digests = (hashlib.blake2b(title.strip().encode("utf-8", "surrogatepass"), digest_size=8) for title in titles)
    return np.frombuffer(b"".join(digest.digest() for digest in digests), dtype="<u8")


def save_training_titles(run: Run, titles: Iterable[str], *earlier: np.ndarray | None) -> None:
    """Write the hashes of `titles`, and those that weights or teachers had seen `earlier`, in one step."""
    hashes = np.concatenate([title_hashes(titles), *(known for known in earlier if known is not None)])
    with replacing(run.titles_file) as partial, partial.open("wb") as file:
        np.save(file, np.unique(hashes))


def load_training_titles(run: Run) -> np.ndarray | None:
    """What `save_training_titles` wrote, (titles,) uint64; None where nothing readable is there."""
    try:
        with run.titles_file.open("rb") as file:
            hashes = np.load(file)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
    return hashes if isinstance(hashes, np.ndarray) and hashes.dtype == np.uint64 and hashes.ndim == 1 else None


def seen_in_training(titles: Iterable[str], known: np.ndarray) -> np.ndarray:
    """Whether each title is among the `known` hashes, (titles,) bool."""
    return np.isin(title_hashes(titles), known)
