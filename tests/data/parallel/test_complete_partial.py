"""Complete and partial translations give their units, and each mistake in them is one line."""

import json

import pytest
from parallel_corpora import refused, said, translations

from frontpage.command.notices import forget_notices, notices
from frontpage.data.parallel.read import read_parallel


@pytest.fixture(autouse=True)
def fresh_notices():
    forget_notices()


FULL = [("Ruth", 1, 1, "a"), ("Ruth", 1, 2, "b"), ("Amos", 1, 1, "c")]


def test_complete_ones_have_all_partial_ones_may_lack_some(tmp_path):
    german = [(book, chapter, verse, text.upper()) for book, chapter, verse, text in FULL]
    metadata = {"kjv": {"language": "en", "year": 1611}, "elb": "de", "rv": {"language": "es"}}
    root = translations(tmp_path, {"kjv": FULL, "elb": german}, {"rv": [("Ruth", 1, 2, "x")]}, metadata)
    text = read_parallel(root)
    assert text.texts == {"elb": ["A", "B", "C"], "kjv": ["a", "b", "c"], "rv": [None, "x", None]}
    assert text.languages == {"elb": "de", "kjv": "en", "rv": "es"} and text.book_names == ["Ruth", "Amos"]
    assert said("of 3 units these are lacking: rv 2") and len(notices()) == 1


def test_without_verses_the_unit_is_a_chapter(tmp_path):
    rows = [(1, 1, None, "a"), (1, 2, None, "b"), (2, 1, None, "c")]
    text = read_parallel(translations(tmp_path, {"x": rows}, metadata={"x": "en"}))
    assert list(text.verses) == [1, 1, 1] and list(text.chapters) == [1, 2, 1] and text.book_names == ["1", "2"]
    assert not notices()


def test_languages_that_are_not_told_are_said(tmp_path):
    text = read_parallel(translations(tmp_path, {"x": FULL, "y": FULL}, metadata={"x": "en", "w": "fr"}))
    assert text.languages == {"x": "en", "y": "y"}
    assert said("does not tell the language of y") and said("translations without a file: w")


def test_a_complete_one_that_lacks_units_is_refused(tmp_path):
    root = translations(tmp_path, {"kjv": FULL, "elb": [*FULL[:1], ("Amos", 1, 1, " ")]})
    refused(root, "complete/elb.json lacks 2 of the 3 units")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "complete/x.json is an empty list"),
        ([("Ruth", 1, 1, "a"), ("Ruth", 2, None, "b")], "entry 1 has a verse, complete/x.json: entry 2 has none"),
        ([("Ruth", 1, "1", "a")], "entry 1: its verse is '1'"),
        ([("Ruth", -1, 1, "a")], "entry 1: its chapter is -1"),
        ([("Ruth", 2**31, 1, "a")], "not a whole number"),
        ([("Ruth", 1.0, 1, "a")], "its chapter is a number with a fraction"),
        ([(" ", 1, 1, "a")], "its book is ' '"),
        ([("\ud800", 1, 1, "a")], "its book is not valid Unicode"),
        ([("Ruth", 1, 1, ["a"])], "the text is a list"),
        ([("Ruth", 1, 1, "a"), ("Ruth", 1, 1, "b")], "x has two different texts of book Ruth, chapter 1, verse 1"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path, rows, words):
    refused(translations(tmp_path, {"x": rows}), words)


@pytest.mark.parametrize("lacking", ["book", "chapter", "text"])
def test_an_entry_without_what_it_needs_is_refused(tmp_path, lacking):
    entry = {"book": "Ruth", "chapter": 1, "verse": 2, "text": "b"}
    del entry[lacking]
    translations(tmp_path, {"x": FULL})
    (tmp_path / "complete" / "x.json").write_text(json.dumps([entry]))
    refused(tmp_path, f"complete/x.json: entry 1 has no '{lacking}'")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [([], "metadata.json holds a list"), ({"x": 1}, "language of x is 1"), ({"x": {}}, "language of x is nothing")],
)
def test_metadata_of_another_form_is_refused(tmp_path, metadata, words):
    refused(translations(tmp_path, {"x": FULL}, metadata=metadata), words)


def test_a_translation_is_complete_or_partial(tmp_path):
    refused(translations(tmp_path, {"x": FULL}, {"x": FULL}), "x is both in complete/ and in partial/")


def test_one_complete_translation_is_needed(tmp_path):
    refused(translations(tmp_path, {}, {"x": FULL}), "no complete/*.json")
