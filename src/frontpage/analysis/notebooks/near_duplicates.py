"""Titles that say the same in other letters, or nearly the same in other words."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

ENDING = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")  # "(2014)", "[pdf]"
ROUNDING = 1e-9  # 0.7 x 10 is a little more than 7 in binary, and one shingle too few would miss pairs


class Pair(NamedTuple):
    """Title `query` of one list and title `other` of another, and the Jaccard similarity of their shingles."""

    query: int
    other: int
    similarity: float


def normalised(title: str) -> str:
    """The title's words in lower case with a blank between them, without punctuation and bracketed endings.

    >>> normalised("Show HN: Café-finder, v2 (2014) [pdf]")
    'show hn café finder v2'
    """
    text = unicodedata.normalize("NFKC", title).casefold()
    while (shorter := ENDING.sub("", text)) != text and shorter:
        text = shorter
    return " ".join(re.findall(r"\w+", text)) or text


def shingles(title: str) -> frozenset[str]:
    """The words of the normalised title, and its pairs of neighbouring words.

    >>> sorted(shingles("Ask HN: why?"))
    ['ask', 'ask hn', 'hn', 'hn why', 'why']
    """
    words = normalised(title).split()
    return frozenset(words + [f"{one} {two}" for one, two in zip(words, words[1:], strict=False)])


def near_duplicates(queries: Sequence[str], others: Sequence[str], threshold: float = 0.6) -> list[Pair]:
    """Each query's most similar title of `others`, where the Jaccard similarity reaches `threshold` (above 0).

    Exact, without a comparison of all pairs: sets that similar share one of the rarest `n - ceil(threshold n) + 1`
    shingles of each (prefix filtering: Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007).
    """
    sets = [shingles(title) for title in queries], [shingles(title) for title in others]
    counts = Counter(shingle for side in sets for one in side for shingle in one)
    holders: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(sets[1]):
        for shingle in _prefix(one, counts, threshold):
            holders[shingle].append(place)
    found = []
    for query, one in enumerate(sets[0]):
        candidates = {place for shingle in _prefix(one, counts, threshold) for place in holders.get(shingle, ())}
        best = max(((_jaccard(one, sets[1][place]), -place) for place in candidates), default=(0.0, 0))
        if best[0] >= threshold:
            found.append(Pair(query, -best[1], best[0]))
    return found


def _prefix(one: frozenset[str], counts: Counter[str], threshold: float) -> list[str]:
    ordered = sorted(one, key=lambda shingle: (counts[shingle], shingle))
    return ordered[: len(one) - math.ceil(threshold * len(one) - ROUNDING) + 1]


def _jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    shared = len(one & two)
    return shared / (len(one) + len(two) - shared)
