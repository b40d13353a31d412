"""Titles of one calendar day as one document: which days are taken, and on which side of the split each one lies."""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain, groupby, pairwise

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.data.documents import Joined
from frontpage.data.epoch_titles import number_of
from frontpage.data.selection import Selection, Taken, take_titles, titles_to_train


def select_days(
    rows: Sequence[str],
    times: Sequence[datetime],
    *,
    num_titles: int | None,
    max_titles: int | None = None,
    val_frac: float = 0.1,
    seed: int = 1337,
) -> Selection:
    """Take days in a seeded order until `num_titles` distinct titles are there (null: all), and split between days.

    Of the day that passes `num_titles` the first titles are taken. A text that several rows hold belongs to the first
    of them in this order. As many days train as have no more than `int(n * (1 - val_frac))` of the n titles taken, at
    least one and not all. The rest is as of `select_titles`. Raises UserError.
    """
    days = rows_by_day(rows, times, seed)
    order = [days[place] for place in np.random.default_rng(seed).permutation(len(days))]
    taken = take_titles(rows, chain.from_iterable(order), num_titles=num_titles, max_titles=max_titles)
    starts = _starts(taken, times)
    wanted = titles_to_train(len(taken.titles), val_frac)
    if len(starts) < 3:
        allowed = f"all {len(taken.titles)} titles are of one day, and each side of the split needs a day of its own"
        raise BadValue("data.join", "day", allowed)
    side = int(np.clip(np.searchsorted(starts, wanted, "right") - 1, 1, len(starts) - 2))
    split = int(starts[side])
    return Selection(
        taken.titles[:split],
        taken.titles[split:],
        len(rows),
        taken.blank,
        taken.repeated,
        Joined(starts[: side + 1]),
        Joined(starts[side:] - split),
    )


def all_days(rows: Sequence[str], times: Sequence[datetime], seed: int) -> tuple[list[str], Joined]:
    """The distinct titles of a file that is not split, day after day, and the days as documents."""
    taken = take_titles(rows, chain.from_iterable(rows_by_day(rows, times, seed)))
    return taken.titles, Joined(_starts(taken, times))


def rows_by_day(rows: Sequence[str], times: Sequence[datetime], seed: int) -> list[list[int]]:
    """The rows of each calendar day, the days in their order, the rows of a day in the order of their times.

    Rows of equal time are in an order that depends on the seed and on each title alone, not on the file: one that knows
    days alone may be sorted by title, and a net would learn the alphabet.
    """
    places = [(when, number_of(f"{seed} {row.strip()}")) for row, when in zip(rows, times, strict=True)]
    order = sorted(range(len(rows)), key=places.__getitem__)
    return [list(day) for _, day in groupby(order, key=lambda row: times[row].date())]


def _starts(taken: Taken, times: Sequence[datetime]) -> np.ndarray:
    """Where the days of the titles taken begin, and how many titles there are."""
    days = [times[row].date() for row in taken.rows]
    begins = [place for place, (before, day) in enumerate(pairwise(days), start=1) if before != day]
    return np.array([0, *begins, len(days)], dtype=np.int64)
