"""A folder for each locale with one JSON file in it: a list of chapters, objects with a `text`.

Chapters are aligned by their place in the lists, so that every locale must have as many. They may say `book` and
`chapter`; the unit is the text of a whole chapter, whose verse is called 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.parallel.checks import KEY, book_name, json_objects, whole_number
from frontpage.data.parallel.collection import Collection
from frontpage.data.parallel.text import ParallelText

CHAPTERS_PER_BOOK = 20  # where no locale names its books


def locale_folders(root: Path) -> list[Path]:
    """The folders of a corpus by name, those that a dot hides left out."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_chapter_lists(root: Path) -> ParallelText:
    """The corpus of the folder; a locale is a translation and its language. Books are named by the first that does."""
    lists = {folder.name: _chapters(folder, root) for folder in locale_folders(root)}
    if not lists:
        raise BadValue(KEY, root, "no folders of locales here, each with one *.json")
    _check_counts({locale: len(chapters) for locale, chapters in lists.items()}, root)
    places = _common_places(lists, root)
    collection = Collection(root)
    for locale, chapters in lists.items():
        for (book, chapter), entry in zip(places, chapters, strict=True):
            collection.add(locale, (book, chapter, 1), entry["text"])
    return collection.finish(str(root), lambda locale: locale)


def _chapters(folder: Path, root: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise BadValue(KEY, root, f"locale {folder.name} has {len(files)} files *.json; exactly one is needed")
    chapters = json_objects(files[0], root)
    for number, entry in enumerate(chapters, start=1):
        if "text" not in entry:
            raise BadValue(KEY, root, f"{folder.name}/{files[0].name}: chapter {number} of the list has no 'text'")
    return chapters


def _check_counts(counts: dict[str, int], root: Path) -> None:
    """BadValue for the locale whose number of chapters the fewest others share."""
    numbers = list(counts.values())
    usual = max(numbers, key=numbers.count)
    for locale, count in counts.items():
        if count != usual:
            others = f"{numbers.count(usual)} other{'s' * (numbers.count(usual) > 1)} {usual}"
            raise BadValue(
                KEY, root, f"locale {locale} has {count} chapters, {others}; they are aligned by their place"
            )


def _common_places(lists: dict[str, list[dict[str, Any]]], root: Path) -> list[tuple[str, int]]:
    """(book, chapter) of each place of the lists, as the first locale that names books has them."""
    named = {locale: found for locale, chapters in lists.items() if (found := _places(locale, chapters, root))}
    if not named:
        count = len(next(iter(lists.values())))
        say = f"no locale names its books; {CHAPTERS_PER_BOOK} consecutive chapters are a book, numbered within it"
        notice(f"{KEY}={root}: {say}")
        places = [divmod(index, CHAPTERS_PER_BOOK) for index in range(count)]
        return [(str(book + 1), chapter + 1) for book, chapter in places]
    first, *others = named
    for other in others:  # names differ between languages; where books begin and how chapters count does not
        pairs = zip(_shape(named[first]), _shape(named[other]), strict=True)
        for number, (mine, theirs) in enumerate(pairs, start=1):
            if mine != theirs:
                where = f"chapter {number} of the list is book {mine[0]}, chapter {mine[1]} in {first}"
                raise BadValue(KEY, root, f"{where}, but book {theirs[0]}, chapter {theirs[1]} in {other}")
    return named[first]


def _places(locale: str, chapters: list[dict[str, Any]], root: Path) -> list[tuple[str, int]]:
    """(book, chapter) of each chapter; none where the locale does not name books."""
    if not any("book" in entry for entry in chapters):
        return []
    places: list[tuple[str, int]] = []
    last: dict[str, int] = {}
    for number, entry in enumerate(chapters, start=1):
        where = f"{locale}: chapter {number} of the list"
        if "book" not in entry:
            raise BadValue(KEY, root, f"{where} names no 'book', and others do")
        book = book_name(entry["book"], f"{where}: its book", root)
        chapter = entry.get("chapter", last.get(book, 0) + 1)
        last[book] = whole_number(chapter, f"{where}: its chapter", root)
        places.append((book, last[book]))
    if len(set(places)) < len(places):
        book, chapter = next(place for place in places if places.count(place) > 1)
        raise BadValue(KEY, root, f"{locale} lists book {book}, chapter {chapter} twice")
    return places


def _shape(places: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """(ordinal of the book from 1, chapter)."""
    ordinals = {book: number for number, book in enumerate(dict.fromkeys(book for book, _ in places), start=1)}
    return [(ordinals[book], chapter) for book, chapter in places]
