"""Folders of locales are aligned by the place of each chapter, and each mistake in them is one line."""

import numpy as np
import pytest
from parallel_corpora import lists, refused, said

from frontpage.command.notices import forget_notices, notices
from frontpage.data.parallel.read import read_parallel


@pytest.fixture(autouse=True)
def fresh_notices():
    forget_notices()


def test_a_unit_is_a_chapter_and_twenty_are_a_book(tmp_path):
    english, german = ([f"{word} {number}" for number in range(45)] for word in ("chapter", "Kapitel"))
    text = read_parallel(lists(tmp_path, en=english, de=german))
    assert text.texts == {"de": german, "en": english} and text.languages == {"de": "de", "en": "en"}
    assert text.book_names == ["1", "2", "3"] and np.bincount(text.books).tolist() == [20, 20, 5]
    assert list(text.chapters[18:22]) == [19, 20, 1, 2] and set(text.verses) == {1}
    assert len(text.documents()) == 45
    assert notices() == [notices()[0]] and said("no locale names its books; 20 consecutive chapters are a book")


def test_the_first_locale_that_names_books_names_them_for_all(tmp_path):
    named = [
        {"book": "Ruth", "text": "r1"},
        {"book": "Ruth", "text": "r2"},
        {"book": "Amos", "chapter": 7, "text": "a"},
    ]
    german = [
        {"book": "Rut", "text": "R1"},
        {"book": "Rut", "text": "R2"},
        {"book": "Am", "chapter": 7, "text": "A"},
    ]
    text = read_parallel(lists(tmp_path, aa=["x", "y", "z"], en=named, zz=german))
    assert text.book_names == ["Ruth", "Amos"] and list(text.chapters) == [1, 2, 7]
    assert text.texts == {"aa": ["x", "y", "z"], "en": ["r1", "r2", "a"], "zz": ["R1", "R2", "A"]}
    assert not notices()


def test_locales_of_other_lengths_are_refused(tmp_path):
    lists(tmp_path, de=["a", "b", "c"], en=["a", "b"], fr=["a", "b", "c"])
    refused(tmp_path, "locale en has 2 chapters, 2 others 3")


@pytest.mark.parametrize(
    ("english", "words"),
    [
        ([{"book": "A", "text": "a"}, {"text": "b"}], "chapter 2 of the list names no 'book'"),
        ([{"book": "A", "text": "a"}, {"book": 1.5, "text": "b"}], "its book is a number with a fraction"),
        ([{"book": "A", "text": "a"}, {"book": "A", "chapter": "2", "text": "b"}], "its chapter is '2'"),
        ([{"book": "A", "text": "a"}, {"book": "A", "chapter": True, "text": "b"}], "its chapter is true or false"),
        (
            [{"book": "A", "text": "a"}, {"book": "A", "chapter": 1, "text": "b"}],
            "en lists book A, chapter 1 twice",
        ),
        (
            [{"book": "A", "text": "a"}, {"book": "A", "text": "b"}],
            "chapter 2 of the list is book 2, chapter 1 in de",
        ),
        ([{"text": "a"}, {"chapter": 1}], "chapter 2 of the list has no 'text'"),
        ([{"text": "a"}, {"text": 5}], "the text is 5, not text"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(tmp_path, english, words):
    german = [{"book": "G", "text": "a"}, {"book": "H", "text": "b"}]
    refused(lists(tmp_path, de=german, en=english), words)


def test_each_locale_has_exactly_one_file(tmp_path):
    lists(tmp_path, de=["a", "b"], en=["a", "b"])
    (tmp_path / ".cache").mkdir()
    read_parallel(tmp_path)
    (tmp_path / "en" / "more.json").write_text("[]")
    refused(tmp_path, "locale en has 2 files *.json; exactly one")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, "locale empty has 0 files *.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"text": "a"}, {"text": "\xff"}]', "chapters.json holds invalid UTF-8 (byte 27)"),
        (b'[{"text": "a"},\n {"text"}]', "chapters.json is not JSON: line 2"),
        (b"", "is not JSON: line 1"),
        (b'{"text": "a"}', "chapters.json holds an object, not a list"),
        (b'[{"text": "a"}, "b"]', "entry 2 is 'b', not an object"),
        (b'[{"text": "a", "text": "b"}]', "two values of 'text'"),
        (b"[" * 100_000, "too deep"),
        (b'[{"text": "a"}, {"text": "\\ud800"}]', "half of a surrogate pair"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content, words):
    lists(tmp_path, de=["a", "b"], en=["a", "b"])
    (tmp_path / "en" / "chapters.json").write_bytes(content)
    refused(tmp_path, f"data.root={tmp_path}", words)


def test_a_mark_at_the_beginning_is_left_out(tmp_path):
    lists(tmp_path, en=["a", "b"])
    path = tmp_path / "en" / "chapters.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_parallel(tmp_path).texts == {"en": ["a", "b"]}
