"""Recasing: a title in the other of the two ways in which titles are capitalised."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

SMALL_WORDS = frozenset(
    "a an and as at but by for from if in into is nor of off on or over per the to up via vs with it its be are".split()
)  # stay small within a title in Title Case
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
ONLY_FIRST_LARGE = re.compile(r"[^\W\d_a-z](?:[^\W\d_A-Z]|['’])*")
TITLE_SHARE, SENTENCE_SHARE = 0.75, 0.5  # of a title's words that begin large: at least, and at most
LONG = 4  # letters of a word that tells the style
FEWEST = 2  # of such words


class Recasing:
    """Turns sentence case into Title Case and back, with the words that `titles` write small in sentences.

    In a sentence all words begin small but names. Title Case hides which those are, so a word is made small only where
    the sentences among `titles` write it small more often than large; one that they do not have stays as it is, and so
    does the first word, one after `:`, `?`, `!`, `.` or a dash, and one that has large letters inside. Only letters of
    one character in both cases change, so a title keeps its length.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        large: Counter[str] = Counter()
        small: Counter[str] = Counter()
        for title in titles:
            if style(title) == "sentence":
                for word, opens in _words(title):
                    if not opens:
                        (small if word.group()[0].islower() else large)[word.group().lower()] += 1
        self._small = {word for word, many in small.items() if many > large[word]}

    def __call__(self, title: str) -> str:
        """The title in the other style; as it is where its style is neither."""
        found = style(title)
        if found is None:
            return title
        change = self._to_title if found == "sentence" else self._to_sentence
        letters = list(title)
        for word, opens in _words(title):
            letters[word.start() : word.end()] = change(word.group(), opens, title[word.start() - 1 : word.start()])
        return "".join(letters)

    def _to_title(self, word: str, opens: bool, before: str) -> str:
        if not word.islower() or word in SMALL_WORDS or before in tuple("./@_-"):
            return word
        first = word[0].upper()
        return first + word[1:] if len(first) == 1 else word

    def _to_sentence(self, word: str, opens: bool, before: str) -> str:
        if opens or not ONLY_FIRST_LARGE.fullmatch(word) or word.lower() not in self._small:
            return word
        return word.lower() if len(word.lower()) == len(word) else word


def in_other_style(titles: Sequence[str], held_out: Iterable[str]) -> list[str]:
    """Each of `titles` in the other style; as it is where that is one of `held_out`, word for word."""
    recase, kept = Recasing(titles), frozenset(held_out)
    others = ((title, recase(title)) for title in titles)
    return [title if other in kept else other for title, other in others]


def style(title: str) -> str | None:
    """`title` where nearly all longer words but the first begin large, `sentence` where few do, or None.

    >>> style("Why Birds Sing at Dawn"), style("Why birds sing at dawn"), style("Why Birds sing at dawn"), style("Go")
    ('title', 'sentence', 'sentence', None)
    """
    words = [word.group() for word, opens in _words(title) if not opens and len(word.group()) >= LONG]
    if len(words) < FEWEST:
        return None
    share = sum(word[0].isupper() for word in words) / len(words)
    return "title" if share >= TITLE_SHARE else "sentence" if share <= SENTENCE_SHARE else None


def _words(title: str) -> Iterator[tuple[re.Match[str], bool]]:
    """Each word, and whether it begins the title or a part of it."""
    opens = True
    for word in WORD.finditer(title):
        yield word, opens
        behind = title[word.end() : word.end() + 2]
        opens = behind[:1] in tuple(":?!.") or behind in (" –", " -", " —")
