"""A folder with `verses.parquet` and, where there are references between verses, `cross_references.parquet`.

`verses.parquet` has the columns book, chapter, verse, translation and text, a row a verse and translation;
`cross_references.parquet` has from_book, from_chapter, from_verse, to_book, to_chapter, to_verse and votes.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from frontpage.command.errors import BadValue
from frontpage.data.parallel.checks import KEY, MOST, book_name
from frontpage.data.parallel.collection import Collection, References
from frontpage.data.parallel.text import ParallelText

VERSES, REFERENCES = "verses.parquet", "cross_references.parquet"


def read_parquet_verses(root: Path) -> ParallelText:
    """The corpus of the folder; a translation's language is what stands before the first `_` of its name."""
    if not (root / VERSES).is_file():
        raise BadValue(KEY, root, f"no {VERSES} in this folder")
    verses = _Table(root, VERSES, ["book", "chapter", "verse", "translation", "text"])
    books, translations = verses.names("book"), verses.names("translation")
    chapters, numbers = verses.numbers("chapter"), verses.numbers("verse")
    collection = Collection(root)
    rows = zip(translations, books, chapters, numbers, verses.texts("text"), strict=True)
    for translation, book, chapter, verse, text in rows:
        collection.add(translation, (book, chapter, verse), text)
    return collection.finish(str(root), lambda translation: translation.partition("_")[0], _references(root))


def _references(root: Path) -> References:
    if not (root / REFERENCES).is_file():
        return []
    columns = [f"{end}_{part}" for end in ("from", "to") for part in ("book", "chapter", "verse")]
    table = _Table(root, REFERENCES, [*columns, "votes"])
    ends = [
        zip(table.names(f"{end}_book"), table.numbers(f"{end}_chapter"), table.numbers(f"{end}_verse"), strict=True)
        for end in ("from", "to")
    ]
    return list(zip(*ends, table.votes("votes"), strict=True))


class _Table:
    """The columns of a Parquet file, each as a Python list of what it must hold."""

    def __init__(self, root: Path, name: str, columns: list[str]) -> None:
        self._root, self._name = root, name
        try:
            held = pa.parquet.read_schema(root / name).names
            for column in columns:
                if held.count(column) != 1:
                    listed = f"it has {', '.join(held[:12])}"
                    raise BadValue(KEY, root, f"{name} needs one column '{column}'; {listed}")
            self._table = pa.parquet.read_table(root / name, columns=columns)
        except pa.ArrowException as error:
            reason = (str(error).splitlines() or [""])[0][:120]
            raise BadValue(KEY, root, f"{name} is not a readable Parquet file ({reason})") from error

    def numbers(self, column: str) -> list[int]:
        """Whole numbers from 0 to what an int32 holds."""
        if not pa.types.is_integer(self._type(column)):
            raise self._wrong(column, "whole numbers")
        values = self._values(column)
        for row, value in enumerate(values, start=1):
            if value is None or not 0 <= value <= MOST:
                raise BadValue(KEY, self._root, f"{self._name}: row {row} has {column} {value}; 0 or more is needed")
        return values

    def names(self, column: str) -> list[str]:
        """Words, or the digits of whole numbers; never blank."""
        kind = self._type(column)
        if not pa.types.is_integer(kind) and not _is_text(kind):
            raise self._wrong(column, "words or whole numbers")
        values = self._values(column)
        spelled = {}
        for row, value in enumerate(values, start=1):
            if value not in spelled:
                spelled[value] = book_name(value, f"{self._name}: row {row}: {column}", self._root)
        return [spelled[value] for value in values]

    def texts(self, column: str) -> list[str | None]:
        """Texts, null among them."""
        if not _is_text(self._type(column)):
            raise self._wrong(column, "text")
        return self._values(column)

    def votes(self, column: str) -> list[float]:
        """Numbers; null is NaN, which the links refuse."""
        kind = self._type(column)
        if not pa.types.is_integer(kind) and not pa.types.is_floating(kind):
            raise self._wrong(column, "numbers")
        return [float("nan") if value is None else float(value) for value in self._values(column)]

    def _type(self, column: str) -> pa.DataType:
        kind = self._table.schema.field(column).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def _values(self, column: str) -> list:
        try:
            return self._table.column(column).to_pylist()
        except UnicodeDecodeError as error:
            raise BadValue(KEY, self._root, f"{self._name}: invalid UTF-8 in column '{column}'") from error

    def _wrong(self, column: str, needed: str) -> BadValue:
        held = self._table.schema.field(column).type
        return BadValue(KEY, self._root, f"{self._name}: column '{column}' holds {held}; {needed} are needed")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
