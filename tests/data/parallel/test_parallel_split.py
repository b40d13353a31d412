"""The promises of the split: whole books, the same in every translation, near the share that is asked for."""

import numpy as np
import pytest

from frontpage.command.errors import BadValue
from frontpage.command.notices import forget_notices, notices
from frontpage.data.parallel.split import split_books
from frontpage.data.parallel.text import ParallelText


def corpus(sizes, links=(), names=None):
    """Books of the given characters, half of them in each of two verses; the second translation has the first ones."""
    books = np.repeat(np.arange(len(sizes), dtype=np.int32), 2)
    texts = [text for size in sizes for text in ("a" * (size // 2), "b" * (size - size // 2))]
    return ParallelText(
        source="a test",
        books=books,
        chapters=np.ones(len(books), dtype=np.int32),
        verses=np.tile(np.array([1, 2], dtype=np.int32), len(sizes)),
        book_names=names or [f"book {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"[: len(sizes)]],
        texts={"x": [text or None for text in texts], "y": [None] * len(books)},
        languages={"x": "x", "y": "y"},
        links=np.array(links, dtype=np.int64).reshape(-1, 2),
        votes=np.ones(len(links)),
    )


def characters(text, units):
    return sum(len(texts[unit] or "") for texts in text.texts.values() for unit in units)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("val_frac", [0.05, 0.1, 0.11, 0.3, 0.7])
def test_whole_books_are_held_out_as_many_as_the_share_has_room_for(seed, val_frac):
    sizes = [100, 20, 30, 40, 60, 80, 10, 10, 200, 50]
    text = corpus(sizes)
    split = split_books(text, val_frac, seed)
    assert sorted([*split.train_units, *split.validation_units]) == list(range(20))
    assert not set(text.books[split.train_units]) & set(text.books[split.validation_units])
    assert split.validation_books == [text.book_names[book] for book in np.unique(text.books[split.validation_units])]
    room = val_frac * sum(sizes) - characters(text, split.validation_units)
    assert room >= 0 and len(split.validation_books) >= 2
    assert all(sizes[book] > room for book in np.unique(text.books[split.train_units])), "another one would have fitted"


def test_a_book_that_would_leave_no_room_for_the_second_is_passed_over():
    forget_notices()
    text = corpus([50, 10, 10, 230, 200])  # the first has room alone, with no other
    assert {tuple(split_books(text, 0.1, seed).validation_books) for seed in range(20)} == {("book b", "book c")}
    assert not notices()
    text = corpus([10, 10, 15, 15, 250])  # any two of the first four have room, not the smallest ones alone
    assert len({tuple(split_books(text, 0.1, seed).validation_books) for seed in range(20)}) > 1


def test_the_same_seed_gives_the_same_split_and_another_one_another():
    text = corpus([10] * 20)
    splits = [split_books(text, 0.2, seed).validation_books for seed in (1, 1, 2, 3)]
    assert splits[0] == splits[1] and len({tuple(one) for one in splits}) == 3
    assert split_books(text, 0.2, 0).validation_books == ["book c", "book e", "book g", "book t"]  # on every platform


@pytest.mark.parametrize(
    ("sizes", "held"), [([50, 40, 60, 30], 2), ([50, 40, 60], 1), ([50, 40], 1), ([500, 40, 60, 30, 20], 2)]
)
def test_too_small_a_share_holds_out_the_smallest_books_and_says_so(sizes, held):
    forget_notices()
    text = corpus(sizes)
    split = split_books(text, 0.01, seed=0)
    smallest = sorted(range(len(sizes)), key=sizes.__getitem__)[:held]
    assert split.validation_books == [text.book_names[book] for book in sorted(smallest)]
    share = sum(sizes[book] for book in smallest) / sum(sizes)
    assert f"data.val_frac=0.01: whole books are held out, at least {held}" in notices()[0]
    assert f"make {share:.1%}" in notices()[0]


def test_characters_of_every_translation_count():
    text = corpus([100, 100, 100, 100, 100])
    text.texts["y"][:2] = ["y" * 2000, None]
    for seed in range(8):
        assert "book a" not in split_books(text, 0.2, seed).validation_books


def test_links_lie_on_the_side_of_both_their_ends_or_on_none():
    text = corpus([10, 10, 10, 10], links=[(0, 1), (0, 2), (2, 5), (3, 6), (4, 5), (6, 7)])
    split = split_books(text, 0.5, 0, ["book b", "book c"])
    assert list(split.train_links) == [0, 5]
    assert list(split.validation_links) == [2, 4]
    assert split.crossing == 2
    assert list(split.train_units) == [0, 1, 6, 7] and list(split.validation_units) == [2, 3, 4, 5]


def test_books_are_named_or_counted_from_one():
    text = corpus([10, 10, 10, 10])
    assert split_books(text, 0.1, 0, [4, "book b", 2]).validation_books == ["book b", "book d"]
    numbered = corpus([10, 10, 10], names=["40", "2", "41"])  # a number is a name first
    assert split_books(numbered, 0.1, 0, [2]).validation_books == ["2"]
    assert split_books(numbered, 0.1, 0, [3, "40"]).validation_books == ["40", "41"]


@pytest.mark.parametrize(
    ("books", "words"),
    [
        (["book x"], r"data.validation_books=book x: no such book .*did you mean.*the corpus has book a, book b"),
        ([0], "no such book"),
        ([5], "no such book"),
        ([True], "no such book"),
        ([], "one or more"),
        ("book a", "a list"),
        ([1, 2, 3, 4], "all 4 books would be held out"),
    ],
)
def test_books_that_cannot_be_held_out_are_refused(books, words):
    with pytest.raises(BadValue, match=words) as caught:
        split_books(corpus([10, 10, 10, 10]), 0.1, 0, books)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("val_frac", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_of_zero_to_one_is_refused(val_frac):
    with pytest.raises(BadValue, match="data.val_frac"):
        split_books(corpus([10, 10]), val_frac, 0)


def test_one_book_cannot_be_split():
    with pytest.raises(BadValue, match="has 1 book"):
        split_books(corpus([10]), 0.1, 0)


def test_a_side_without_text_in_the_chosen_translations_is_refused():
    text = corpus([0, 10, 10, 0])
    with pytest.raises(BadValue, match="no text to hold out"):
        split_books(text, 0.1, 0, ["book a", "book d"])
    with pytest.raises(BadValue, match="no text to train on"):
        split_books(text, 0.1, 0, ["book b", "book c"])
    for seed in range(6):  # an empty book is never drawn
        assert not {"book a", "book d"} & set(split_books(corpus([0, 10, 10, 0, 10]), 0.1, seed).validation_books)
