"""The promises of ParallelText: its documents, what a document's text is, and a choice of translations."""

import math

import numpy as np
import pytest

from frontpage.command.errors import BadValue
from frontpage.data.parallel.synthetic_text import synthetic_parallel
from frontpage.data.parallel.text import ParallelText


@pytest.fixture
def text():
    return ParallelText(
        source="a test",
        books=np.array([0, 0, 0, 1, 1], dtype=np.int32),
        chapters=np.array([1, 1, 2, 2, 2], dtype=np.int32),
        verses=np.array([1, 2, 1, 1, 2], dtype=np.int32),
        book_names=["one", "two"],
        texts={"x": ["a", None, "c", "d", "e"], "y": ["A", "B", None, "D", "E"], "z": [None] * 5},
        languages={"x": "lower", "y": "upper", "z": "none"},
        links=np.array([[0, 3]]),
        votes=np.array([2.0]),
    )


def test_a_document_is_a_chapter_and_books_with_equal_chapters_are_apart(text):
    assert [list(units) for units in text.documents()] == [[0, 1], [2], [3, 4]]


def test_a_document_holds_the_texts_that_are_there_a_line_each(text):
    assert [text.document("y", units) for units in text.documents()] == ["A\nB", "", "D\nE"]
    assert text.document("x", [0, 1, 2]) == "a\nc"
    assert text.document("x", np.array([], dtype=int)) == ""


def test_a_choice_keeps_the_units_and_the_order_of_the_corpus(text):
    chosen = text.only(["y", "x"])
    assert list(chosen.texts) == list(chosen.languages) == ["x", "y"]
    assert chosen.texts["y"] is text.texts["y"] and chosen.links is text.links and chosen.source == text.source


@pytest.mark.parametrize(
    ("names", "words"), [(["x", "Y"], "data.translations=Y: one or more of x, y, z"), ([], "of x, y, z")]
)
def test_an_unknown_translation_is_refused_and_the_known_ones_are_listed(text, names, words):
    with pytest.raises(BadValue, match=words):
        text.only(names)


def test_fewer_languages_cost_fewer_nats():
    text = synthetic_parallel(books=2, chapters=2, verses=3, translations=4, seed=0)
    chosen = text.only(["bb", "dd"])
    assert list(chosen.least_nats) == ["bb", "dd"]
    np.testing.assert_allclose(text.least_nats["bb"] - chosen.least_nats["bb"], math.log(2), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(text.only(list(text.texts)).least_nats["aa"], text.least_nats["aa"])
