"""Languages that are one another respelled: a vowel becomes a vowel, a consonant a consonant, each its own.

Words keep their lengths and sound like words, and no two languages share one, so that nothing but learning tells which
words mean the same. Capitals stay, and so do names in capitals.
"""

import functools
import string

import numpy as np

VOWELS = "aeiou"
CONSONANTS = "".join(letter for letter in string.ascii_lowercase if letter not in VOWELS)


@functools.cache
def respellings(vocabulary: tuple[str, ...], count: int) -> list[dict[str, str]]:
    """Letter -> letter for `count` languages whose respelled vocabularies share no word; the first changes nothing.

    The same on every platform. Raises ValueError where none is found that shares no word with those before.
    """
    found = [{letter: letter for letter in string.ascii_lowercase}]
    taken = set(vocabulary)
    generator = np.random.default_rng(2026)  # of the languages, which are the same for every seed of a corpus
    for _ in range(1000 * count):
        if len(found) == count:
            return found
        table = {}
        for letters in (VOWELS, CONSONANTS):
            table |= {
                letter: letters[place]
                for letter, place in zip(letters, generator.permutation(len(letters)), strict=True)
            }
        words = {respell(word, table) for word in vocabulary}
        if not words & taken:
            taken |= words
            found.append(table)
    if len(found) == count:
        return found
    raise ValueError(f"only {len(found)} languages of these words share none")


def respell(text: str, table: dict[str, str]) -> str:
    """The text with each lower-case letter replaced; all else stays."""
    return text.translate(str.maketrans(table))


def inverse(table: dict[str, str]) -> dict[str, str]:
    """What undoes a respelling."""
    return {new: old for old, new in table.items()}
