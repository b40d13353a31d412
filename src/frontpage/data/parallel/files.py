"""ParallelFiles: a parallel corpus from a folder or a file, in any of the forms that are known."""

from typing import Annotated, Any

from frontpage.command.errors import BadValue
from frontpage.command.limits import Count, OneOf, Text
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.data.parallel.read import LINES_PER_CHAPTER, LOOKED_FOR, read_parallel
from frontpage.data.parallel.text import ParallelText


class ParallelFiles(ParallelData):
    """What lies at `root`, or `path`, which is the same, read as `format` (`auto`: what it looks like).

    docs/parallel.md shows the forms. Where lines have no chapters of their own, `lines_per_chapter` of them make one,
    and `chapters_per_book` a book (null: five, or fewer, so that there are ten books at least).
    """

    def __init__(
        self,
        *,
        root: Text | None = None,
        path: Text | None = None,
        format: Annotated[str, OneOf("auto", *LOOKED_FOR)] = "auto",
        lines_per_chapter: Count = LINES_PER_CHAPTER,
        chapters_per_book: Count | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if None not in (root, path) and root != path:
            raise BadValue("data.path", path, f"what data.root says, {root}, or only one of the two")
        self.root, self.format = path if root is None else root, format
        self.lines_per_chapter, self.chapters_per_book = lines_per_chapter, chapters_per_book

    def corpus(self) -> ParallelText:
        """Read it; UserError where there is none."""
        if self.root is None:
            raise BadValue("data.root", None, "the folder or file of a parallel corpus, data.root=FOLDER")
        options = {"lines_per_chapter": self.lines_per_chapter, "chapters_per_book": self.chapters_per_book}
        return read_parallel(self.root, self.format, **options)
