"""Which adapter reads a corpus: the one whose files lie there, or the one that is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from frontpage.command.errors import BadValue, local_path
from frontpage.command.limits import AtLeast, OneOf
from frontpage.command.notices import notice
from frontpage.data.parallel.aligned_lines import LINKS, read_aligned_lines
from frontpage.data.parallel.chapter_lists import locale_folders, read_chapter_lists
from frontpage.data.parallel.checks import KEY, SURROGATE
from frontpage.data.parallel.complete_partial import read_complete_partial
from frontpage.data.parallel.parquet_verses import VERSES, read_parquet_verses
from frontpage.data.parallel.text import ParallelText

LOOKED_FOR = {
    "parquet": VERSES,
    "complete": "complete/*.json",
    "lines": "one *.tsv",
    "chapters": "folders with one *.json each",
}
LINES_PER_CHAPTER = 20


def read_parallel(
    root: str | Path,
    format: Annotated[str, OneOf("auto", *LOOKED_FOR)] = "auto",
    *,
    lines_per_chapter: Annotated[int, AtLeast(1)] = LINES_PER_CHAPTER,
    chapters_per_book: Annotated[int, AtLeast(1)] | None = None,
) -> ParallelText:
    """The corpus of a folder, or of a .tsv; the last two serve aligned lines that do not say where they stand.

    Raises BadValue, in one line, for whatever cannot be read or cannot be meant; notices tell what was altered.
    """
    if format not in ("auto", *LOOKED_FOR):
        raise BadValue("data.format", format, f"one of auto {' '.join(LOOKED_FOR)}")
    for key, count in (("lines_per_chapter", lines_per_chapter), ("chapters_per_book", chapters_per_book)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise BadValue(f"data.{key}", count, "a whole number of 1 or more")
    path = _path(root)
    try:
        if not path.exists():
            raise BadValue(KEY, root, "no such folder or file")
        kind = _kind(path) if format == "auto" else format
        if kind == "lines":
            return read_aligned_lines(_lines_file(path), lines_per_chapter, chapters_per_book)
        if not path.is_dir():
            raise BadValue(KEY, root, f"this is a file; format={kind} needs the folder that holds {LOOKED_FOR[kind]}")
        if (lines_per_chapter, chapters_per_book) != (LINES_PER_CHAPTER, None):
            what = "data.lines_per_chapter and data.chapters_per_book serve aligned lines only"
            notice(f"{KEY}={root}: {what}; this is read as {kind}")
        readers: dict[str, Callable[[Path], ParallelText]] = {
            "parquet": read_parquet_verses,
            "complete": read_complete_partial,
            "chapters": read_chapter_lists,
        }
        return readers[kind](path)
    except OSError as error:
        raise BadValue(KEY, root, f"cannot be read ({error.strerror or error})") from error


def _path(root: str | Path) -> Path:
    if SURROGATE.search(str(root)):
        raise BadValue(KEY, root, "the name holds bytes that are no UTF-8; rename it")
    if not str(root).strip() or "\0" in str(root):
        raise BadValue(KEY, root, "the path of a folder or of a .tsv is needed")
    try:
        return local_path(root, KEY).expanduser()
    except RuntimeError as error:
        raise BadValue(KEY, root, "no such user") from error


def _kind(path: Path) -> str:
    """The only format whose files lie there."""
    if not path.is_dir():
        if path.suffix.lower() != ".tsv":
            raise BadValue(KEY, path, "a file of aligned lines ends in .tsv; the other formats are folders")
        return "lines"
    here = {
        "parquet": (path / VERSES).is_file(),
        "complete": (path / "complete").is_dir(),
        "lines": bool(_texts(path)),
    }
    here["chapters"] = not here["complete"] and any(any(one.glob("*.json")) for one in locale_folders(path))
    found = [kind for kind, there in here.items() if there]
    if not found:
        raise BadValue(KEY, path, f"nothing that is known lies here; looked for {', '.join(LOOKED_FOR.values())}")
    if len(found) > 1:
        several = " and ".join(LOOKED_FOR[kind] for kind in found)
        raise BadValue(KEY, path, f"{several} lie here; choose with data.format={'|'.join(found)}")
    return found[0]


def _texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tsv") if path.is_file() and not path.name.endswith(LINKS))


def _lines_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = _texts(path)
    if len(found) != 1:
        raise BadValue(KEY, path, f"{len(found)} files *.tsv lie here; one is needed, or name it as data.root")
    return found[0]
