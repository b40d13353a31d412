"""A generated parallel corpus: its entropy is known exactly, and what each task can reach at best.

Each translation is a language of its own, the same verses respelled but for names (`respelling`). What there is to
learn: who is met in a verse is told of in the next, at the same place (coherence); verses with the same theme are
linked, whichever of its two words they use (cross reference); a verse is the same in all languages (paraphrase).
"""

import functools
import math
from collections.abc import Iterator

import numpy as np

from frontpage.command.errors import BadValue
from frontpage.data.parallel.respelling import inverse, respell, respellings
from frontpage.data.parallel.text import ParallelText
from frontpage.data.parallel.verse_grammar import VerseGrammar
from frontpage.data.parallel.verse_words import ENTITIES, TEMPLATES, THEMES, WORDS

MOST_TRANSLATIONS = 26  # aa, bb, ..., zz
MOST_VERSES = 20_000  # links grow with the square: there are 3.3 million then
MORE_OR_LESS = 2  # verses of a chapter than asked for


def synthetic_parallel(*, books: int, chapters: int, verses: int, translations: int, seed: int) -> ParallelText:
    """Generate `books` of `chapters` each, with `verses` more or less two each, in `translations` languages aa, bb, ...

    The same arguments give the same text on every platform. `least_nats` of a document (a chapter in one language) is
    minus the log of its probability: its language, its number of verses and every choice; what repeats costs nothing.
    Raises BadValue for numbers that are out of range.
    """
    limits = {"books": (books, 1, None), "chapters": (chapters, 1, None), "verses": (verses, 2, None)}
    limits |= {"translations": (translations, 1, MOST_TRANSLATIONS)}
    for name, (value, least, most) in limits.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            allowed = f"a whole number from {least} to {most}" if most else f"a whole number of {least} or more"
            raise BadValue(f"data.{name}", value, allowed)
    if books * chapters * (verses + MORE_OR_LESS) > MOST_VERSES:
        allowed = f"with {chapters} chapters of {verses} verses, more or less two, this passes {MOST_VERSES} verses"
        raise BadValue("data.books", books, allowed)
    grammar, uniforms = chapter_grammar(verses), _uniforms(seed)
    drawn = [grammar.draw_chapter(uniforms) for _ in range(books * chapters)]
    units = [len(chapter.verses) for chapter in drawn]
    names = language_names(translations)
    texts: dict[str, list[str | None]] = {}
    for name, table in zip(names, respellings(_vocabulary(), translations), strict=True):
        texts[name] = [respell(verse, table) for chapter in drawn for verse in chapter.verses]
    nats = np.array([chapter.nats for chapter in drawn]) + math.log(translations)
    links = _same_theme(np.array([theme for chapter in drawn for theme in chapter.themes]))
    return ParallelText(
        source=f"generated parallel text (books={books} chapters={chapters} verses={verses} seed={seed})",
        books=np.repeat(np.arange(books, dtype=np.int32), np.reshape(units, (books, chapters)).sum(axis=1)),
        chapters=np.repeat(np.tile(np.arange(1, chapters + 1, dtype=np.int32), books), units),
        verses=np.concatenate([np.arange(1, count + 1, dtype=np.int32) for count in units]),
        book_names=[f"book{number}" for number in range(1, books + 1)],
        texts=texts,
        languages={name: name for name in names},
        links=links,
        votes=np.ones(len(links)),
        least_nats={name: nats.copy() for name in names},
        best={
            "coherence": best_coherence(len(ENTITIES), chance_of_same_place()),
            "cross_reference": 1.0,
            "paraphrase": 1.0,
        },
    )


def log_prob(document: str, translation: str, *, verses: int, translations: int) -> float:
    """Natural logarithm of the probability of a document among those of a corpus with these arguments, from its text.

    It includes the choice of the language; -inf for what the corpus cannot hold in that translation.
    """
    names = language_names(translations)
    if translation not in names:
        return -math.inf
    table = respellings(_vocabulary(), translations)[names.index(translation)]
    return chapter_grammar(verses).log_prob(respell(document, inverse(table))) - math.log(translations)


def best_coherence(entities: int, same_place: float, reversed_share: float = 0.25) -> float:
    """What no accuracy exceeds at telling a verse and its next from a pair that is none, half the pairs being of each.

    Positives are consecutive verses of a chapter: whoever is met in the first is known in the second, and the place is
    the same, always. Of the negatives `reversed_share` are such pairs turned round, the others lie three verses or more
    apart or in another book. A pair that does not chain, or changes its place, is negative for certain; of one that
    does neither, it is likelier that it is consecutive, whatever else is seen. So the best guess errs on the negatives
    that chain at one place by chance, and its accuracy is 1 - P(negative) P(that).
    With E entities a pair turned round chains with 1 / (E - 1), where the third in the chain is the first again; two
    unrelated verses with 1 / E, and they share their place with `same_place`. Far verses of the same chapter, of which
    there are few, always share it; that is left out, so that the accuracy of the best guess is a little below.
    """
    chains = reversed_share / (entities - 1) + (1 - reversed_share) * same_place / entities
    return 1 - 0.5 * chains


def chance_of_same_place() -> float:
    """How often two chapters have the same place."""
    weights = np.array([1 / (rank + 2) for rank in range(len(WORDS["place"]))])
    return float(((weights / weights.sum()) ** 2).sum())


def language_names(count: int) -> list[str]:
    """The names aa, bb, cc, ..."""
    return [chr(ord("a") + number) * 2 for number in range(count)]


@functools.cache
def chapter_grammar(verses: int) -> VerseGrammar:
    """The grammar of chapters with `verses` verses, two more or two less, and never fewer than two."""
    counts = range(max(2, verses - MORE_OR_LESS), verses + MORE_OR_LESS + 1)
    return VerseGrammar(ENTITIES, THEMES, WORDS, TEMPLATES, counts)


@functools.cache
def _vocabulary() -> tuple[str, ...]:
    """All words but names, in the language that is not respelled."""
    lists = [*THEMES, *WORDS.values()]
    literal = [word for _, template in TEMPLATES for word in template.split() if word.isalpha()]
    return tuple(dict.fromkeys([word for one in lists for word in one] + literal))


def _same_theme(themes: np.ndarray) -> np.ndarray:
    """All pairs (L, 2) int64 of units with equal themes, the lower first, in order."""
    pairs = []
    for theme in np.unique(themes):
        units = np.flatnonzero(themes == theme)
        low, high = np.triu_indices(len(units), k=1)
        pairs.append(np.stack([units[low], units[high]], axis=1))
    links = np.concatenate(pairs).astype(np.int64)
    return links[np.lexsort((links[:, 1], links[:, 0]))]


def _uniforms(seed: int) -> Iterator[float]:
    """Uniform numbers in [0, 1), in blocks because single draws are slow."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.random(4096).tolist()
