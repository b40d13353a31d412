"""Collection: the texts that an adapter finds, in any order, checked and ordered into a ParallelText.

Never silent: whatever is altered, dropped or lacking is counted in a notice, and what cannot be meant is a BadValue.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from frontpage.command.errors import BadValue, is_text
from frontpage.command.notices import notice
from frontpage.data.parallel.checks import KEY, SURROGATE, clean, shown
from frontpage.data.parallel.links import no_links, undirected
from frontpage.data.parallel.text import ParallelText

Place = tuple[str, int, int]  # book, chapter, verse
References = Iterable[tuple[Place, Place, float]]  # from, to, votes


class Collection:
    """Texts by translation and place; `root` is what the errors call the corpus."""

    def __init__(self, root: object) -> None:
        self.root = root
        self._texts: dict[str, dict[Place, str | None]] = {}
        self._books: dict[str, int] = {}  # in order of first appearance
        self._blank = self._altered = self._repeated = 0

    def add(self, translation: str, place: Place, text: object) -> None:
        """Take a text; null and blank ones are lacking. BadValue where it is no text, or another than one before."""
        if text is not None and not isinstance(text, str):
            raise BadValue(KEY, self.root, f"{translation}, {_name(place)}: the text is {shown(text)}, not text")
        if text is not None and not text.isprintable() and SURROGATE.search(text):  # the first is fast
            raise BadValue(KEY, self.root, f"{translation}, {_name(place)}: half of a surrogate pair, no valid Unicode")
        text, altered = clean(text or "")
        texts = self._texts.setdefault(translation, {})
        self._books.setdefault(place[0], len(self._books))
        self._blank += not text
        before = texts.get(place)
        if text and before and text != before:
            raise BadValue(KEY, self.root, f"{translation} has two different texts of {_name(place)}")
        if place in texts:
            self._repeated += bool(text and before)
            text = text or before or ""
        else:
            self._altered += altered and bool(text)
        texts[place] = text or None

    def places(self, translation: str) -> set[Place]:
        """The places of which a translation has a text."""
        return {place for place, text in self._texts[translation].items() if text is not None}

    def finish(
        self,
        source: str,
        languages: Mapping[str, str] | Callable[[str], str],
        references: References = (),
    ) -> ParallelText:
        """The units that any translation has, ordered; books by number where all are numbered, else as they came."""
        for name in self._texts:
            if not is_text(name):
                raise BadValue(KEY, self.root, f"the name of translation {name!r} is no text; rename it")
        there = {name: self.places(name) for name in self._texts}
        places = sorted(set().union(*there.values()), key=self._order())
        if len(places) < 2:
            raise BadValue(KEY, self.root, f"it holds {len(places)} units with a text; two or more are needed")
        empty = [name for name, held in there.items() if not held]
        if empty:
            raise BadValue(KEY, self.root, f"translation {empty[0]} holds no text at all")
        self._say(there, len(places))
        names = list(dict.fromkeys(book for book, _, _ in places))
        number = {name: index for index, name in enumerate(names)}
        unit = {place: index for index, place in enumerate(places)}
        found = [(unit.get(start, -1), unit.get(end, -1), votes) for start, end, votes in references]
        links, votes = no_links()
        if found:
            pairs = np.array([(start, end) for start, end, _ in found], dtype=np.int64)
            links, votes = undirected(pairs, np.array([votes for *_, votes in found], dtype=np.float64), self.root)
        language = languages if callable(languages) else languages.__getitem__
        return ParallelText(
            source=source,
            books=np.array([number[book] for book, _, _ in places], dtype=np.int32),
            chapters=np.array([chapter for _, chapter, _ in places], dtype=np.int32),
            verses=np.array([verse for _, _, verse in places], dtype=np.int32),
            book_names=names,
            texts={name: [texts.get(place) for place in places] for name, texts in self._texts.items()},
            languages={name: language(name) for name in self._texts},
            links=links,
            votes=votes,
        )

    def _order(self) -> Callable[[Place], tuple[int, int, int]]:
        numbered = all(book.isascii() and book.isdigit() for book in self._books)
        rank = {book: int(book) if numbered else first for book, first in self._books.items()}
        return lambda place: (rank[place[0]], place[1], place[2])

    def _say(self, there: Mapping[str, set[Place]], units: int) -> None:
        counts = {
            "blank texts, which count as lacking": self._blank,
            "texts with control characters or ends of lines, for which a blank stands": self._altered,
            "texts that repeat the same text of the same unit, of which the first is kept": self._repeated,
        }
        for what, count in counts.items():
            if count:
                notice(f"{KEY}={self.root}: {what}: {count}")
        textless = len(set().union(*self._texts.values())) - units
        if textless:
            notice(f"{KEY}={self.root}: units without a text in any translation, which are left out: {textless}")
        lacking = ", ".join(f"{name} {units - len(held)}" for name, held in there.items() if len(held) < units)
        if lacking:
            notice(f"{KEY}={self.root}: of {units} units these are lacking: {lacking}")


def _name(place: Place) -> str:
    book, chapter, verse = place
    return f"book {book}, chapter {chapter}, verse {verse}"
