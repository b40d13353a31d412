"""ParallelText: the units of a corpus (verses), their texts in every translation, and which units are related."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frontpage.command.errors import BadValue, nearest


@dataclass(frozen=True)
class ParallelText:
    """U units, ordered by book, chapter and verse, and what each translation has of them.

    A unit is the smallest passage that is aligned: a verse, a line, or a chapter where a corpus knows no smaller ones.
    """

    source: str  # what a run's record calls it
    books: np.ndarray  # (U,) int32, 0.. in order of first appearance
    chapters: np.ndarray  # (U,) int32, as the corpus numbers them
    verses: np.ndarray  # (U,) int32, as the corpus numbers them
    book_names: list[str]
    texts: dict[str, list[str | None]]  # translation -> text of each of the U units, None where it lacks one
    languages: dict[str, str]  # translation -> language
    links: np.ndarray  # (L, 2) int64: related units, the lower first, each pair once
    votes: np.ndarray  # (L,) float64, above 0: how much a link counts
    # A generated corpus knows these two: translation -> (documents,) float64, the nats (minus log probability) of each
    # document to whoever knows how it was drawn, its language among `texts` included; and the accuracy none can beat.
    least_nats: dict[str, np.ndarray] | None = None
    best: dict[str, float] | None = None

    def documents(self) -> list[np.ndarray]:
        """The unit indexes of each chapter, in order: consecutive units with equal book and chapter."""
        new = (np.diff(self.books) != 0) | (np.diff(self.chapters) != 0)
        return np.split(np.arange(len(self.books)), np.flatnonzero(new) + 1)

    def document(self, translation: str, units: Sequence[int] | np.ndarray) -> str:
        """The texts of these units that the translation has, a line each; empty if it has none."""
        texts = self.texts[translation]
        return "\n".join(text for unit in units if (text := texts[unit]) is not None)

    def only(self, translations: Sequence[str]) -> "ParallelText":
        """The same units in these translations alone, in the corpus's order; BadValue for one that is unknown."""
        known = ", ".join(self.texts)
        for name in translations:
            if name not in self.texts:
                raise BadValue("data.translations", name, f"one or more of {known}{nearest(str(name), self.texts)}")
        if not translations or len({*translations}) < len(translations):
            raise BadValue("data.translations", list(translations), f"one or more of {known}, each once")
        kept = [name for name in self.texts if name in translations]
        least = self.least_nats
        if least is not None:  # fewer languages to choose from, and so fewer nats for the choice
            fewer = math.log(len(self.texts)) - math.log(len(kept))
            least = {name: least[name] - fewer for name in kept}
        texts = {name: self.texts[name] for name in kept}
        languages = {name: self.languages[name] for name in kept}
        return dataclasses.replace(self, texts=texts, languages=languages, least_nats=least)
