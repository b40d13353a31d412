"""Titles of a file that memory need not hold: read row by row, selected by their hashes, kept on the disk.

What is selected is what `select_titles` selects; the file's rows are read twice, the titles taken are written once.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.command.progress_line import ProgressLine
from frontpage.data.cache_folder import cache_folder
from frontpage.data.entities import first_entity, say_kept, undone
from frontpage.data.files import file_of, titles_of
from frontpage.data.selection import Selection, check_enough, most_titles, two_sides
from frontpage.data.stored_titles import StoredTitles, files_of

LARGE = 16 * 2**20  # bytes of a file that is not read at once: a million titles in Parquet, 300,000 as text
AT_ONCE = 100_000  # rows between two words of how far it is
FORMAT = 1  # raise it when the files below change their meaning
SIDES = ("train", "validation")
FACTS = "selection.json"


def is_large(path: str | Path) -> bool:
    """Whether a file of titles is read in a stream."""
    return file_of(path).stat().st_size > LARGE


def select_from_file(
    path: str | Path,
    column: str,
    unescape_html: bool,
    cache_dir: str | Path,
    *,
    num_titles: int | None,
    max_titles: int | None = None,
    val_frac: float = 0.1,
    seed: int = 1337,
) -> Selection:
    """What `select_titles` takes of the file's rows, as StoredTitles in a folder of the cache.

    The folder is found again as long as the file is the same one by its place, size and times. Raises UserError.
    """
    path = file_of(path).resolve()
    limits = {"num_titles": num_titles, "max_titles": max_titles, "val_frac": val_frac, "seed": seed}
    settings = json.dumps([FORMAT, str(path), *_state(path), column, unescape_html, *limits.values()])
    key = f"titles-{hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()}"
    needed = {FACTS, *(file for side in SIDES for file in files_of(side))}
    build = partial(_build, path=path, column=column, unescape_html=unescape_html, limits=limits)
    with cache_folder(cache_dir, key, needed, build, "selection of titles") as folder:
        facts = json.loads((folder / FACTS).read_text())
        train, validation = (StoredTitles(folder, side) for side in SIDES)
    if facts["with_entities"]:
        say_kept(facts["with_entities"], facts["rows"], facts["entity"], f"data.path={path}")
    return Selection(train, validation, facts["rows"], facts["blank"], facts["repeated"])


def _state(path: Path) -> tuple[int, ...]:
    """What changes with a file's content."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class _Rows(NamedTuple):
    """What is kept of every row: (rows,) arrays."""

    hashes: np.ndarray  # uint64, the first 64 bits of its BLAKE2b hash
    others: np.ndarray  # int64, Python's own hash: both together tell two texts apart
    sizes: np.ndarray  # uint32, bytes; 0 for a blank row


def _build(folder: Path, path: Path, column: str, unescape_html: bool, limits: Mapping[str, Any]) -> None:
    print(f"reading {path} for the first time ({path.stat().st_size / 1e6:,.0f} MB); later runs open it", flush=True)
    before = _state(path)
    rows, with_entities, entity = _read(path, column, unescape_html)
    wanted = most_titles(len(rows.sizes), limits["num_titles"], limits["max_titles"])
    chosen, blank, repeated = _choose(rows, wanted, limits["seed"])
    check_enough(len(chosen), limits["num_titles"], wanted)
    split = two_sides(len(chosen), limits["val_frac"])
    for side, of in zip(SIDES, (chosen[:split], chosen[split:]), strict=True):
        np.save(folder / f"{side}_hashes.npy", rows.hashes[of])
        np.save(folder / f"{side}_offsets.npy", np.concatenate([[0], rows.sizes[of]]).cumsum(dtype=np.int64))
    facts = {"rows": len(rows.sizes), "blank": blank, "repeated": repeated}
    del rows
    _copy(_titles(path, column, unescape_html), facts["rows"], chosen, split, folder)
    if _state(path) != before:
        raise BadValue("data.path", path, "a file that nobody changes while it is read")
    (folder / FACTS).write_text(json.dumps(facts | {"with_entities": with_entities, "entity": entity}))


def _titles(path: Path, column: str, unescape_html: bool) -> Iterator[str]:
    titles = titles_of(path, column)
    return (title.strip() for title in (map(undone, titles) if unescape_html else titles))


def _read(path: Path, column: str, unescape_html: bool) -> tuple[_Rows, int, str]:
    """(what is kept of each row, how many hold entities that are kept, the first such entity)."""
    hashes, others, sizes = array("Q"), array("q"), array("I")
    with_entities, entity = 0, ""
    for title in _titles(path, column, unescape_html):
        letters = title.encode()
        hashes.append(int.from_bytes(hashlib.blake2b(letters, digest_size=8).digest(), "little"))
        others.append(hash(title))
        sizes.append(len(letters))
        if not unescape_html and (found := first_entity(title)):
            with_entities, entity = with_entities + 1, entity or found
    kinds = (np.uint64, np.int64, np.dtype(f"u{sizes.itemsize}"))
    arrays = (np.frombuffer(kept, kind) for kept, kind in zip((hashes, others, sizes), kinds, strict=True))
    return _Rows(*arrays), with_entities, entity


def _choose(rows: _Rows, wanted: int, seed: int) -> tuple[np.ndarray, int, int]:
    """(the first `wanted` distinct rows in the seeded order, blank rows and repeats passed over on the way)."""
    order = np.random.default_rng(seed).permutation(len(rows.sizes))
    hashes, others = rows.hashes[order], rows.others[order]
    alike = np.lexsort((others, hashes))  # stable: of equal ones the first in the order stands first
    again = hashes[alike[1:]] == hashes[alike[:-1]]
    again &= others[alike[1:]] == others[alike[:-1]]
    blank = rows.sizes[order] == 0
    repeated = np.zeros(len(order), dtype=bool)
    repeated[alike[1:][again]] = True
    repeated &= ~blank
    places = np.flatnonzero(~(blank | repeated))[:wanted]
    end = places[-1] + 1 if len(places) == wanted and wanted else len(order)
    return order[places], int(blank[:end].sum()), int(repeated[:end].sum())


def _copy(titles: Iterator[str], rows: int, chosen: np.ndarray, split: int, folder: Path) -> None:
    """Write the chosen rows where they stand among the texts of their side."""
    ranks = np.full(rows, -1)
    ranks[chosen] = np.arange(len(chosen))
    offsets = [np.load(folder / f"{side}_offsets.npy") for side in SIDES]
    files = [os.open(folder / f"{side}.txt", os.O_WRONLY | os.O_CREAT, 0o666) for side in SIDES]
    line = ProgressLine("writing titles", rows)
    try:
        for start in range(0, rows, AT_ONCE):
            some = ranks[start : start + AT_ONCE]
            sides = some >= split
            places = np.where(sides, offsets[1][np.maximum(some - split, 0)], offsets[0][np.minimum(some, split)])
            for rank, side, place, title in zip(some.tolist(), sides.tolist(), places.tolist(), titles, strict=False):
                if rank >= 0:
                    _write_all(files[side], title.encode(), place)
            line.advance(len(some))
    finally:
        line.close()
        for file in files:
            os.close(file)


def _write_all(file: int, letters: bytes, place: int) -> None:
    while letters:
        written = os.pwrite(file, letters, place)
        letters, place = letters[written:], place + written
