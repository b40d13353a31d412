"""Side: one side of a split parallel corpus, as the tasks draw their examples from it."""

import re
from functools import cached_property

import numpy as np

from frontpage.data.parallel.text import ParallelText


class Side:
    """The units of the training or of the validation books; a place counts them from 0, in the corpus's order.

    `units` (N,) are their indices in `text`, `links` (L, 2) pairs of such indices, `votes` (L,) their weights.
    """

    def __init__(self, text: ParallelText, units: np.ndarray, links: np.ndarray, votes: np.ndarray) -> None:
        self.units = units
        self.translations = list(text.texts)
        self.texts = [[of[unit] for unit in units] for of in text.texts.values()]  # by translation, then place
        self.has = np.array([[one is not None for one in of] for of in self.texts])  # (translations, N) bool
        self.books, self.chapters = text.books[units], text.chapters[units]
        places = np.full(len(text.books), -1)
        places[units] = np.arange(len(units))
        self._set_links(places[links].reshape(-1, 2), votes)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def there(self) -> list[str]:
        """The texts that exist, translation after translation."""
        return [one for of in self.texts for one in of if one is not None]

    def _set_links(self, links: np.ndarray, votes: np.ndarray) -> None:
        both = np.concatenate([links, links[:, ::-1]])
        order = np.lexsort((both[:, 1], both[:, 0]))
        self._to, self._votes = both[order, 1], np.concatenate([votes, votes])[order]
        self._first = np.searchsorted(both[order, 0], np.arange(len(self) + 1))
        self.linked = np.flatnonzero(np.diff(self._first))  # places that have a link

    def links_of(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """(places that are linked with `place`, their votes), in order of places."""
        part = slice(self._first[place], self._first[place + 1])
        return self._to[part], self._votes[part]

    @cached_property
    def whole_chapters(self) -> bool:
        """Whether every unit is a chapter, as in corpora without smaller ones."""
        return not ((np.diff(self.books) == 0) & (np.diff(self.chapters) == 0)).any()

    @cached_property
    def neighbours(self) -> np.ndarray:
        """(T, N) bool: whether a place and the next one are consecutive units of a chapter, both in the translation.

        Where a unit is a whole chapter, of a book.
        """
        follows = np.zeros(len(self), dtype=bool)
        follows[:-1] = (np.diff(self.units) == 1) & (np.diff(self.books) == 0)
        if not self.whole_chapters:
            follows[:-1] &= np.diff(self.chapters) == 0
        found = self.has & follows
        found[:, :-1] &= self.has[:, 1:]
        return found

    @cached_property
    def book_bounds(self) -> dict[int, tuple[int, int]]:
        """Of each book, (its first place, the one after its last)."""
        starts = np.flatnonzero(np.diff(self.books, prepend=self.books[0] - 1))
        ends = [*starts[1:], len(self)]
        return {int(self.books[start]): (int(start), int(end)) for start, end in zip(starts, ends, strict=True)}

    @cached_property
    def plain(self) -> list[list[str]]:
        """The texts without case, marks and blanks, by translation and place: equal ones say the same."""
        return [[re.sub(r"\W+", "", one or "").casefold() for one in of] for of in self.texts]

    @cached_property
    def said(self) -> np.ndarray:
        """(translations, N): a number for each text of `plain`, equal where texts say the same; -1 where one lacks."""
        numbers: dict[str, int] = {}
        found = [[numbers.setdefault(one, len(numbers)) for one in of] for of in self.plain]
        return np.where(self.has, np.array(found), -1)

    def repeated_of(self, other: "Side") -> int:
        """How many of its texts the other side has in the same translation, but for case, marks and blanks."""
        known = [{*of} - {""} for of in other.plain]
        return sum(one in seen for seen, of in zip(known, self.plain, strict=True) for one in of)
