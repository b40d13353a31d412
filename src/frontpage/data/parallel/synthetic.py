"""SyntheticParallel: an embedded parallel corpus, drawn from a grammar whose entropy is known."""

from typing import Annotated, Any

from frontpage.command.limits import AtLeast
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.data.parallel.synthetic_text import synthetic_parallel
from frontpage.data.parallel.text import ParallelText


class SyntheticParallel(ParallelData):
    """`books` of `chapters` chapters of about `verses` verses, in `languages` languages that respell one another."""

    def __init__(
        self,
        *,
        books: Annotated[int, AtLeast(4, 1000)] = 40,
        chapters: Annotated[int, AtLeast(1, 1000)] = 8,
        verses: Annotated[int, AtLeast(3, 1000)] = 8,
        languages: Annotated[int, AtLeast(1, 10)] = 3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.books, self.chapters, self.verses, self.languages = books, chapters, verses, languages

    def corpus(self) -> ParallelText:
        """Draw it; `data.seed` fixes it."""
        return synthetic_parallel(
            books=self.books, chapters=self.chapters, verses=self.verses, translations=self.languages, seed=self.seed
        )
