"""Whole books are held out, the same in every translation: else a passage leaks through another language."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frontpage.command.errors import BadValue, nearest
from frontpage.command.notices import notice
from frontpage.data.parallel.text import ParallelText

KEY = "data.validation_books"


@dataclass(frozen=True)
class BookSplit:
    """On which side each unit and each link of a ParallelText lies."""

    train_units: np.ndarray  # sorted indexes of units, int64
    validation_units: np.ndarray  # sorted indexes of units, int64
    train_links: np.ndarray  # sorted indexes into `links` and `votes`, int64: both ends train
    validation_links: np.ndarray  # the same, both ends held out
    crossing: int  # links from one side to the other, which are on neither
    validation_books: list[str]  # names, in the corpus's order


def split_books(
    text: ParallelText, val_frac: float, seed: int, validation_books: Sequence[str | int] | None = None
) -> BookSplit:
    """Hold out these books, else, in a seeded order, those that keep the held-out share of characters <= `val_frac`.

    A book that is too large is passed over. A corpus of four books or more holds out two at least, a smaller one one;
    where not even the smallest have room, these are held out and a notice says their share. With `validation_books`,
    `val_frac` is not used; a number in it is a book of that name, else the place of a book counted from 1. Raises
    BadValue.
    """
    if len(text.book_names) < 2:
        raise BadValue(KEY, validation_books, f"the corpus has {len(text.book_names)} book; whole ones are held out")
    sizes = _characters(text)
    if validation_books is None:
        held = _drawn(sizes, val_frac, seed)
    else:
        held = _named(text.book_names, validation_books)
    if sizes[sorted(held)].sum() in (0, sizes.sum()):
        side = "hold out" if sizes[sorted(held)].sum() == 0 else "train on"
        names = [text.book_names[book] for book in sorted(held)]
        raise BadValue(KEY, names, f"in {', '.join(text.texts)} this leaves no text to {side}")
    outside = np.isin(text.books, sorted(held))
    ends = outside[text.links].sum(axis=1)  # 0, 1 or 2 of them held out
    return BookSplit(
        train_units=np.flatnonzero(~outside),
        validation_units=np.flatnonzero(outside),
        train_links=np.flatnonzero(ends == 0),
        validation_links=np.flatnonzero(ends == 2),
        crossing=int((ends == 1).sum()),
        validation_books=[text.book_names[book] for book in sorted(held)],
    )


def _characters(text: ParallelText) -> np.ndarray:
    """Characters of each book (books,) int64 in all translations."""
    units = np.zeros(len(text.books), dtype=np.int64)
    for texts in text.texts.values():
        units += [len(one or "") for one in texts]
    sizes = np.zeros(len(text.book_names), dtype=np.int64)
    np.add.at(sizes, text.books, units)
    return sizes


def _drawn(sizes: np.ndarray, val_frac: float, seed: int) -> set[int]:
    if not 0 < val_frac < 1:
        raise BadValue("data.val_frac", val_frac, "a share between 0 and 1, both excluded")
    total, least = int(sizes.sum()), 2 if len(sizes) >= 4 else 1
    order = [int(book) for book in np.random.default_rng(seed).permutation(len(sizes)) if sizes[book] > 0]
    by_size = sorted(order, key=lambda book: int(sizes[book]))
    held: set[int] = set()
    characters = 0
    for book in order:
        still = max(0, least - len(held) - 1)  # that must find room beside it: the smallest ones do, if any
        beside = [other for other in by_size if other != book and other not in held][:still]
        if characters + int(sizes[[book, *beside]].sum()) <= val_frac * total:
            held.add(book)
            characters += int(sizes[book])
    if len(held) < least:
        held = set(by_size[:least])
    share = int(sizes[sorted(held)].sum()) / total if total else 0
    if share > val_frac:
        what = f"whole books are held out, at least {least}: the smallest ones make {share:.1%} of the characters"
        notice(f"data.val_frac={val_frac}: {what}")
    return held


def _named(names: list[str], wanted: Sequence[str | int]) -> set[int]:
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if isinstance(wanted, str) or not len(wanted):
        raise BadValue(KEY, wanted, f"a list of one or more of {listed}; null draws some")
    held = set()
    for book in wanted:
        if str(book) in names:
            held.add(names.index(str(book)))
        elif isinstance(book, int) and not isinstance(book, bool) and 1 <= book <= len(names):
            held.add(book - 1)
        else:
            raise BadValue(KEY, book, f"no such book{nearest(str(book), names)}; the corpus has {listed}")
    if len(held) == len(names):
        raise BadValue(KEY, list(wanted), f"all {len(names)} books would be held out; one or more must train")
    return held
