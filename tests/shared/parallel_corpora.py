"""Parallel corpora in each format, written by tests, and what reading them says."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from frontpage.command.errors import BadValue
from frontpage.command.notices import notices
from frontpage.data.parallel.read import read_parallel

PLAIN = [(1, 1, 1, "en_a", "one"), (1, 1, 2, "en_a", "two"), (2, 1, 1, "en_a", "three")]  # rows for `verses`


def refused(root, *words, **options):
    """The message of the BadValue for this corpus: one line that names data.root and holds these words."""
    with pytest.raises(BadValue) as caught:
        read_parallel(root, **options)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    return message


def said(*words):
    """Whether one notice holds all these words."""
    return any(all(word in one for word in words) for one in notices())


def verses(folder, rows, **columns):
    """verses.parquet of rows (book, chapter, verse, translation, text)."""
    names = ["book", "chapter", "verse", "translation", "text"]
    table = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)} | columns
    pa.parquet.write_table(
        pa.table({name: values for name, values in table.items() if values}), folder / "verses.parquet"
    )
    return folder


def references(folder, rows):
    """cross_references.parquet of rows (from book, chapter, verse, to book, chapter, verse, votes)."""
    names = [f"{end}_{part}" for end in ("from", "to") for part in ("book", "chapter", "verse")] + ["votes"]
    table = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    pa.parquet.write_table(pa.table(table), folder / "cross_references.parquet")
    return folder


def lists(folder, **locales):
    """A folder a locale with a list of chapters: texts, or whole objects."""
    for locale, chapters in locales.items():
        (folder / locale).mkdir()
        objects = [{"text": one} if isinstance(one, str) else one for one in chapters]
        (folder / locale / "chapters.json").write_text(json.dumps(objects), encoding="utf-8")
    return folder


def translations(folder, complete, partial=None, metadata=None):
    """complete/ and partial/ of rows (book, chapter, verse or None, text)."""
    for name, files in (("complete", complete), ("partial", partial or {})):
        (folder / name).mkdir()
        for stem, rows in files.items():
            objects = [
                {"book": book, "chapter": chapter, "verse": verse, "text": text}
                if verse is not None
                else {"book": book, "chapter": chapter, "text": text}
                for book, chapter, verse, text in rows
            ]
            (folder / name / f"{stem}.json").write_text(json.dumps(objects), encoding="utf-8")
    if metadata is not None:
        (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return folder


def lines(folder, content, links=None, name="text.tsv"):
    """A .tsv of this text."""
    (folder / name).write_text(content, encoding="utf-8")
    if links is not None:
        (folder / "text.links.tsv").write_text(links, encoding="utf-8")
    return folder / name
