"""Which titles are used, and on which side of the split each one lies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.data.documents import APART, Documents


@dataclass(frozen=True)
class Selection:
    """Distinct titles on two sides, how they make documents, and what was passed over on the way."""

    train: Sequence[str]
    validation: Sequence[str]
    rows: int  # rows of the source
    blank: int  # blank rows passed over
    repeated: int  # exact repeats passed over
    train_documents: Documents = APART
    validation_documents: Documents = APART


@dataclass(frozen=True)
class Taken:
    """Distinct titles in the order in which they were come upon, the row of each, and what was passed over."""

    titles: list[str]
    rows: list[int]
    blank: int
    repeated: int


def select_titles(
    rows: Sequence[str],
    *,
    num_titles: int | None,
    max_titles: int | None = None,
    val_frac: float = 0.1,
    seed: int = 1337,
) -> Selection:
    """Take the first `num_titles` distinct titles (null: all) of a seeded permutation and split them.

    The order is `numpy.random.default_rng(seed).permutation(len(rows))`, what `datasets.shuffle(seed)` does. Titles
    lose their outer blanks and nothing else; the first `int(n * (1 - val_frac))` of the n taken train. `max_titles` is
    an upper limit that fewer titles do not offend. Raises UserError.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    taken = take_titles(rows, order, num_titles=num_titles, max_titles=max_titles)
    titles, split = taken.titles, two_sides(len(taken.titles), val_frac)
    return Selection(titles[:split], titles[split:], len(rows), taken.blank, taken.repeated)


def take_titles(
    rows: Sequence[str], order: Iterable[int], *, num_titles: int | None = None, max_titles: int | None = None
) -> Taken:
    """The first `num_titles` distinct titles (null: all) of the rows in an order of their indices.

    Blank rows and repeats are passed over; `max_titles` is an upper limit that fewer titles do not offend. UserError.
    """
    wanted = most_titles(len(rows), num_titles, max_titles)
    taken: dict[str, int] = {}
    blank = repeated = 0
    for index in order:
        if len(taken) == wanted:
            break
        title = rows[index].strip()
        if not title:
            blank += 1
        elif title in taken:
            repeated += 1
        else:
            taken[title] = index
    check_enough(len(taken), num_titles, wanted)
    return Taken(list(taken), list(taken.values()), blank, repeated)


def most_titles(rows: int, num_titles: int | None, max_titles: int | None) -> int:
    """How many titles are wanted of so many rows; BadValue for a number that is none."""
    for key, count in (("data.num_titles", num_titles), ("data.max_titles", max_titles)):
        if count is not None and not (isinstance(count, int) and count > 0):
            raise BadValue(key, count, "a whole number above 0, or null")
    return min((limit for limit in (num_titles, max_titles) if limit is not None), default=rows)


def check_enough(taken: int, num_titles: int | None, wanted: int) -> None:
    """BadValue where a source has fewer distinct titles than `num_titles` asks for."""
    if num_titles is not None and taken < wanted:
        raise BadValue("data.num_titles", num_titles, f"the source has only {taken} distinct titles (null takes all)")


def titles_to_train(taken: int, val_frac: float) -> int:
    """How many of the titles taken train; BadValue for a share that is none."""
    if not 0 < val_frac < 1:
        raise BadValue("data.val_frac", val_frac, "a share between 0 and 1, both excluded")
    return int(taken * (1 - val_frac))


def two_sides(taken: int, val_frac: float) -> int:
    """The same where titles alone are told apart; BadValue where a side is left empty."""
    split = titles_to_train(taken, val_frac)
    if split == 0 or split == taken:
        side = "training" if split == 0 else "validation"
        allowed = f"of {taken} titles this leaves the {side} side empty; each side needs at least one"
        raise BadValue("data.val_frac", val_frac, allowed)
    return split


def distinct_titles(rows: Iterable[str]) -> list[str]:
    """All titles of a file that is not split: without outer blanks, blank rows and repeats."""
    return list(dict.fromkeys(title for title in (row.strip() for row in rows) if title))
