"""References between units become links: undirected, each pair once, none to what is not there."""

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.parallel.checks import KEY


def undirected(pairs: np.ndarray, votes: np.ndarray, root: object) -> tuple[np.ndarray, np.ndarray]:
    """Links (L, 2) int64 and votes (L,) float64 of references (R, 2), in which -1 stands for a unit that is not there.

    A pair that is referred to several times, in either direction, is one link with the sum of the votes. References to
    units that are not there, of a unit to itself and with votes of 0 or less are dropped; a notice counts them. Raises
    BadValue for votes that are no finite number.
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    votes = np.asarray(votes, dtype=np.float64).reshape(-1)
    if not np.isfinite(votes).all():
        row = int(np.flatnonzero(~np.isfinite(votes))[0]) + 1
        raise BadValue(KEY, root, f"reference {row} has {votes[row - 1]} votes; a finite number is needed")
    unknown = (pairs < 0).any(axis=1)
    itself = ~unknown & (pairs[:, 0] == pairs[:, 1])
    refused = ~unknown & ~itself & (votes <= 0)
    kept = ~(unknown | itself | refused)
    reasons = {
        "to units that are not there": unknown,
        "of a unit to itself": itself,
        "with votes of 0 or less": refused,
    }
    dropped = ", ".join(f"{int(which.sum())} {reason}" for reason, which in reasons.items() if which.any())
    if dropped:
        notice(f"{KEY}={root}: of {len(pairs)} references these are dropped: {dropped}")
    low, high = np.sort(pairs[kept], axis=1).T
    units = int(high.max(initial=0)) + 1
    codes, link = np.unique(low * units + high, return_inverse=True)  # one number a pair: much faster than rows
    links = np.stack(np.divmod(codes, units), axis=1)
    return links, np.bincount(link, weights=votes[kept], minlength=len(links)).astype(np.float64)


def no_links() -> tuple[np.ndarray, np.ndarray]:
    """What a corpus without references has: (0, 2) int64 and (0,) float64."""
    return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float64)
