"""Where each line of a text stands, its book, chapter and verse: by columns that say so, else by counting lines."""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from frontpage.command.errors import BadValue
from frontpage.data.parallel.checks import KEY, MOST, book_name
from frontpage.data.parallel.collection import Place

PLACES = ("book", "chapter", "verse", "id")  # the columns
CHAPTERS_PER_BOOK, FEWEST_BOOKS = 5, 10
ONE_A_BOOK = "each chapter is a book (data.chapters_per_book)"
UNIT_ID = re.compile(r"(.*[^\s.:_-])[.:_-](\d{1,9})", re.ASCII)  # GEN.1.1, Genesis 1:1, group.7: unit and number in it


@dataclass(frozen=True)
class LinePlaces:
    """The lines of a file, `numbers` their own in it, and what counts where no column says.

    Without `chapters_per_book` five chapters make a book, or fewer, so that there are ten books at least.
    """

    path: Path
    numbers: Sequence[int]
    lines_per_chapter: int
    chapters_per_book: int | None

    def of(self, columns: dict[str, list[str]]) -> tuple[list[Place], str]:
        """The place of each line by these columns of PLACES, and how it was found; BadValue for what is no place."""
        if "verse" in columns and "chapter" not in columns:
            raise BadValue(KEY, self.path, "a column 'verse' needs a column 'chapter'")
        used = [name for name in ("book", "chapter", "verse") if name in columns]
        said = [f"placed by {', '.join(used)}"] if used else []
        if "id" in columns:
            if not used and (placed := self._by_id(columns["id"])):
                return placed, "placed by id: what stands before its last point is held out whole"
            said.append("the column id places none" + ("" if used else ", not being like GEN.1.1 in every line"))
        books = [self._word(*cell, "book") for cell in self._cells(columns["book"])] if "book" in columns else None
        chapters = self._chapters(books, columns.get("chapter"))
        if "chapter" not in columns:
            said.append(f"{self.lines_per_chapter} consecutive lines are a chapter (data.lines_per_chapter)")
        if books is None:
            size = self.chapters_per_book or _book_size(chapters)
            books = _counted_books(chapters, "chapter" in columns, size)
            said.append(f"{size} consecutive chapters are a book (data.chapters_per_book)" if size > 1 else ONE_A_BOOK)
        if "verse" in columns:
            verses = [self._number(*cell, "verse") for cell in self._cells(columns["verse"])]
        else:
            verses = _counted(list(zip(books, chapters, strict=True)))
        return list(zip(books, chapters, verses, strict=True)), "; ".join(said)

    def _by_id(self, cells: Sequence[str]) -> list[Place]:
        """The places that ids such as GEN.1.1 name, none unless all are so: GEN.1 is held out whole, as a book is."""
        parsed = [UNIT_ID.fullmatch(cell.strip()) for cell in cells]
        return [(one[1], 1, int(one[2])) for one in parsed if one] if all(parsed) else []

    def _chapters(self, books: list[str] | None, cells: list[str] | None) -> list[int]:
        """Chapters by their number; if any is called by a word, all are numbered from 1 as they come in their book."""
        owners = books or [""] * len(self.numbers)
        if cells is None:
            return [(count - 1) // self.lines_per_chapter + 1 for count in _counted(owners)]
        if all(re.fullmatch("[0-9]+", cell.strip()) for cell in cells):
            return [self._number(*cell, "chapter") for cell in self._cells(cells)]
        words = [self._word(*cell, "chapter") for cell in self._cells(cells)]
        order: dict[str, dict[str, int]] = {}
        for owner, word in zip(owners, words, strict=True):
            known = order.setdefault(owner, {})
            known.setdefault(word, len(known) + 1)
        return [order[owner][word] for owner, word in zip(owners, words, strict=True)]

    def _cells(self, cells: Sequence[str]) -> Iterator[tuple[int, str]]:
        return zip(self.numbers, cells, strict=True)

    def _word(self, number: int, cell: str, what: str) -> str:
        return book_name(cell, f"line {number}: its {what}", self.path)

    def _number(self, number: int, cell: str, what: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", cell.strip()) or int(cell) > MOST:
            raise BadValue(KEY, self.path, f"line {number}: its {what} is {cell.strip()[:40]!r}, not a whole number")
        return int(cell)


def _book_size(chapters: Sequence[int]) -> int:
    """Chapters a book, by how many there are in the order of the lines."""
    runs = sum(1 for _ in groupby(chapters))
    return min(CHAPTERS_PER_BOOK, max(runs // FEWEST_BOOKS, 1))


def _counted_books(chapters: Sequence[int], numbered: bool, size: int) -> list[str]:
    """Books of `size` chapters in a row, called 1, 2, ...; one ends early where chapters that are numbered restart."""
    books, book, held = [], 1, 0
    for index, chapter in enumerate(chapters):
        if index == 0 or chapter != chapters[index - 1]:
            restarts = numbered and index > 0 and chapter < chapters[index - 1]
            if held == size or restarts:
                book, held = book + 1, 0
            held += 1
        books.append(str(book))
    return books


def _counted(owners: Sequence[Hashable]) -> list[int]:
    """How many lines of its owner there are up to each line, itself among them."""
    seen: Counter[Hashable] = Counter()
    counts = []
    for owner in owners:
        seen[owner] += 1
        counts.append(seen[owner])
    return counts
