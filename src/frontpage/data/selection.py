"""Which titles are used, and on which side of the split each one lies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from frontpage.command.errors import BadValue


@dataclass(frozen=True)
class Selection:
    """Distinct titles on two sides, and what was passed over on the way."""

    train: list[str]
    validation: list[str]
    rows: int  # rows of the source
    blank: int  # blank rows passed over
    repeated: int  # exact repeats passed over


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
    for key, count in (("data.num_titles", num_titles), ("data.max_titles", max_titles)):
        if count is not None and not (isinstance(count, int) and count > 0):
            raise BadValue(key, count, "a whole number above 0, or null")
    if not 0 < val_frac < 1:
        raise BadValue("data.val_frac", val_frac, "a share between 0 and 1, both excluded")
    wanted = min((limit for limit in (num_titles, max_titles) if limit is not None), default=len(rows))
    taken: dict[str, None] = {}
    blank = repeated = 0
    for index in np.random.default_rng(seed).permutation(len(rows)):
        if len(taken) == wanted:
            break
        title = rows[index].strip()
        if not title:
            blank += 1
        elif title in taken:
            repeated += 1
        else:
            taken[title] = None
    if num_titles is not None and len(taken) < wanted:
        allowed = f"the source has only {len(taken)} distinct titles (null takes all)"
        raise BadValue("data.num_titles", num_titles, allowed)
    titles = list(taken)
    split = int(len(titles) * (1 - val_frac))
    if split == 0 or split == len(titles):
        side = "training" if split == 0 else "validation"
        allowed = f"of {len(titles)} titles this leaves the {side} side empty; each side needs at least one"
        raise BadValue("data.val_frac", val_frac, allowed)
    return Selection(titles[:split], titles[split:], len(rows), blank, repeated)


def distinct_titles(rows: Iterable[str]) -> list[str]:
    """All titles of a file that is not split: without outer blanks, blank rows and repeats."""
    return list(dict.fromkeys(title for title in (row.strip() for row in rows) if title))
