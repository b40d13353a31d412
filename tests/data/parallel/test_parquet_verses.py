"""verses.parquet gives its units and links, and each mistake in it is one line."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from parallel_corpora import PLAIN, references, refused, said, verses

from frontpage.command.notices import forget_notices, notices
from frontpage.data.parallel.read import read_parallel


@pytest.fixture(autouse=True)
def fresh_notices():
    forget_notices()


def test_units_are_ordered_by_book_chapter_and_verse_whatever_the_order_of_rows(tmp_path):
    rows = [(10, 1, 1, "de_x", "zehn"), (2, 2, 1, "de_x", "c"), (2, 1, 10, "de_x", "b"), (2, 1, 9, "de_x", "a")]
    text = read_parallel(verses(tmp_path, [*rows, (2, 1, 9, "en_y", "A"), (10, 1, 1, "en_y", "ten")]))
    assert text.texts == {"de_x": ["a", "b", "c", "zehn"], "en_y": ["A", None, None, "ten"]}
    assert text.languages == {"de_x": "de", "en_y": "en"} and text.book_names == ["2", "10"]
    assert [list(one) for one in (text.books, text.chapters, text.verses)] == [
        [0, 0, 0, 1],
        [1, 1, 2, 1],
        [9, 10, 1, 1],
    ]
    assert text.books.dtype == text.chapters.dtype == text.verses.dtype == np.int32
    assert text.links.shape == (0, 2) and text.links.dtype == np.int64 and text.votes.shape == (0,)
    assert text.source == str(tmp_path) and text.least_nats is None and text.best is None
    assert said("of 4 units these are lacking: en_y 2") and len(notices()) == 1


def test_books_of_words_keep_the_order_of_first_appearance(tmp_path):
    rows = [("Ruth", 1, 1, "en", "r"), ("Amos", 1, 1, "en", "a"), ("Ruth", 1, 2, "en", "s")]
    text = read_parallel(verses(tmp_path, rows))
    assert text.book_names == ["Ruth", "Amos"] and text.texts == {"en": ["r", "s", "a"]}
    assert not notices()


def test_references_become_links_and_what_is_dropped_is_counted(tmp_path):
    rows = [(1, 1, 1, 2, 1, 1, 3), (2, 1, 1, 1, 1, 1, 4), (1, 1, 2, 1, 1, 1, 5), (1, 1, 1, 1, 1, 1, 9)]
    rows += [(1, 1, 1, 9, 9, 9, 2), (1, 1, 2, 2, 1, 1, 0), (1, 1, 2, 2, 1, 1, -3)]
    text = read_parallel(references(verses(tmp_path, PLAIN), rows))
    assert text.links.tolist() == [[0, 1], [0, 2]] and text.votes.tolist() == [5.0, 7.0]
    assert text.links.dtype == np.int64 and text.votes.dtype == np.float64
    assert said("of 7 references", "1 to units", "1 of a unit to itself", "2 with votes of 0 or less")


def test_votes_must_be_finite(tmp_path):
    references(verses(tmp_path, PLAIN), [(1, 1, 1, 2, 1, 1, float("nan"))])
    refused(tmp_path, "data.root=", "reference 1 has nan votes")


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (PLAIN, {"text": None}, ["needs one column 'text'", "it has book, chapter"]),
        (PLAIN, {"text": [1, 2, 3]}, ["column 'text' holds int64; text"]),
        (PLAIN, {"chapter": ["a", "b", "c"]}, ["column 'chapter' holds string; whole numbers"]),
        (PLAIN, {"book": [0.5, 1.5, 2.5]}, ["column 'book' holds double"]),
        (PLAIN, {"verse": [1, None, 3]}, ["row 2 has verse None"]),
        (PLAIN, {"verse": [1, 2, -3]}, ["row 3 has verse -3"]),
        (PLAIN, {"verse": [1, 2, 2**31]}, ["row 3 has verse 2147483648"]),
        (PLAIN, {"translation": ["en", " ", "en"]}, ["row 2: translation is ' '"]),
        (PLAIN, {"book": ["Ruth", None, "Ruth"]}, ["row 2: book is nothing (null)"]),
        (PLAIN[:1], {}, ["1 units with a text; two"]),
        ([*PLAIN, (1, 1, 1, "en_a", "other")], {}, ["en_a has two different texts of book 1, chapter 1, verse 1"]),
        ([*PLAIN, (1, 1, 1, "fr", " ")], {}, ["translation fr holds no text"]),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, rows, columns, words):
    refused(verses(tmp_path, rows, **columns), f"data.root={tmp_path}: ", *words)


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "verses.parquet").write_bytes(b"PAR1 and nothing more")
    refused(tmp_path, "verses.parquet is not a readable Parquet file")
    broken = pa.array([b"ok", b"\xff", b"ok"]).view(pa.string())
    refused(verses(tmp_path, PLAIN, text=broken), "invalid UTF-8 in column 'text'")


def test_references_need_their_columns(tmp_path):
    verses(tmp_path, PLAIN)
    pa.parquet.write_table(pa.table({"from_book": [1]}), tmp_path / "cross_references.parquet")
    refused(tmp_path, "cross_references.parquet needs one column 'from_chapter'")
