"""Aligned lines stand where columns or counting place them, and each mistake in them is one line."""

import numpy as np
import pytest
from parallel_corpora import lines, refused, said

from frontpage.command.notices import forget_notices
from frontpage.data.parallel.read import read_parallel
from frontpage.data.parallel.split import split_books


@pytest.fixture(autouse=True)
def fresh_notices():
    forget_notices()


def test_a_header_names_the_translations(tmp_path):
    text = read_parallel(lines(tmp_path, 'en_kjv\tde_elb\n"one" it\'s\teins\ntwo\t\n'))
    assert text.texts == {"en_kjv": ['"one" it\'s', "two"], "de_elb": ["eins", None]}
    assert text.languages == {"en_kjv": "en", "de_elb": "de"}
    assert said("line 1 names the columns; translations: en_kjv, de_elb", "20 consecutive lines are a chapter")


@pytest.mark.parametrize("first", ["A first line\teins", "one\tone", "1\teins", "one,\teins", "o" * 17 + "\teins"])
def test_without_a_header_columns_are_numbered(tmp_path, first):
    text = read_parallel(lines(tmp_path, f"{first}\ntwo\tzwei\n"))
    assert text.texts == {"text_1": [first.split("\t")[0], "two"], "text_2": [first.split("\t")[1], "zwei"]}
    assert text.languages == {"text_1": "text_1", "text_2": "text_2"}
    assert said("line 1 is no header")


@pytest.mark.parametrize(
    ("header", "word"), [("book\tchapter\ten\txx\txx", "'xx'"), ("book\tEnglish text", "'English text'")]
)
def test_a_header_of_places_with_a_wrong_name_is_no_text(tmp_path, header, word):
    cells = "\t".join(["1"] * len(header.split("\t")))
    message = refused(lines(tmp_path, f"{header}\n{cells}\n"), "line 1 names places")
    assert f"beside {word}" in message


def test_lines_are_counted_into_chapters_and_books(tmp_path):
    path = lines(tmp_path, "en\n" + "".join(f"line {number}\n" for number in range(23)))
    text = read_parallel(path, lines_per_chapter=3, chapters_per_book=2)
    assert text.book_names == ["1", "2", "3", "4"] and np.bincount(text.books).tolist() == [6, 6, 6, 5]
    assert [len(units) for units in text.documents()] == [3] * 7 + [2]
    assert list(text.verses[:4]) == [1, 2, 3, 1] and list(text.chapters[:10]) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert text.texts["en"] == [f"line {number}" for number in range(23)]
    assert said("3 consecutive lines are a chapter", "2 consecutive chapters are a book")


def test_columns_place_the_lines(tmp_path):
    content = "Book\tchapter\tverse\ten\nRuth\t2\t1\tc\nRuth\t1\t2\tb\nAmos\t1\t1\td\nRuth\t1\t1\ta\n"
    text = read_parallel(lines(tmp_path, content))
    assert text.texts == {"en": ["a", "b", "c", "d"]} and text.book_names == ["Ruth", "Amos"]
    assert list(text.chapters) == [1, 1, 2, 1] and list(text.verses) == [1, 2, 1, 1]
    assert said("placed by book, chapter, verse") and not said("consecutive")


def test_chapters_may_be_words_and_verses_counted(tmp_path):
    content = "book\tchapter\ten\nA\tpreface\ta\nA\tpreface\tb\nA\tend\tc\nB\tend\td\n"
    text = read_parallel(lines(tmp_path, content))
    assert list(text.chapters) == [1, 1, 2, 1] and list(text.verses) == [1, 2, 1, 1]


def test_books_alone_have_their_lines_counted(tmp_path):
    text = read_parallel(lines(tmp_path, "book\ten\nA\ta\nA\tb\nA\tc\nB\td\n"), lines_per_chapter=2)
    assert list(text.chapters) == [1, 1, 2, 1] and list(text.books) == [0, 0, 0, 1]


def test_chapters_alone_are_counted_into_books_which_end_where_they_restart(tmp_path):
    numbers = [1, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    content = "chapter\ten\n" + "".join(f"{one}\tline {row}\n" for row, one in enumerate(numbers))
    text = read_parallel(lines(tmp_path, content), chapters_per_book=5)
    assert list(text.books) == [0] * 6 + [1, 1, 2, 2] and list(text.chapters) == numbers
    assert text.texts["en"] == [f"line {row}" for row in range(10)]


@pytest.mark.parametrize("form", ["{}.{}.{}", "{} {}:{}", "{}_{}_{}"])
def test_ids_place_the_lines(tmp_path, form):
    rows = [("1 SAM", 2, 11, "c"), ("1 SAM", 2, 3, "b"), ("GEN", 1, 1, "d"), ("1 SAM", 1, 1, "a")]
    content = "id\ten\n" + "".join(f"{form.format(*row[:3])}\t{row[3]}\n" for row in rows)
    text = read_parallel(lines(tmp_path, content))
    units = [form.format(*place, 0)[:-2] for place in (("1 SAM", 2), ("GEN", 1), ("1 SAM", 1))]  # as they come
    assert text.texts == {"en": ["b", "c", "d", "a"]} and text.book_names == units
    assert list(text.books) == [0, 0, 1, 2] and list(text.verses) == [3, 11, 1, 1] and said("placed by id")


def test_units_of_one_book_are_held_out_apart(tmp_path):
    rows = [f"GEN.{chapter}.{verse}\tverse {verse} of {chapter}\n" for chapter in range(1, 51) for verse in range(1, 4)]
    text = read_parallel(lines(tmp_path, "id\ten\n" + "".join(rows)))
    split = split_books(text, 0.1, seed=1)
    assert text.book_names == [f"GEN.{chapter}" for chapter in range(1, 51)] and len(split.validation_books) in (4, 5)
    held = {text.book_names[book] for book in text.books[split.validation_units]}
    assert held == {*split.validation_books} and len(split.validation_units) == 3 * len(held)


def test_groups_are_units(tmp_path):
    text = read_parallel(lines(tmp_path, "id\ten\tde\ng.1\ta\tA\nh.1\tc\tC\ng.2\tb\tB\n"))
    assert text.book_names == ["g", "h"] and text.texts == {"en": ["a", "b", "c"], "de": ["A", "B", "C"]}


def test_ids_of_another_form_place_nothing_and_that_is_said(tmp_path):
    text = read_parallel(lines(tmp_path, "id\ten\nGEN.1.1\ta\nx17\tb\n"))
    assert text.texts == {"en": ["a", "b"]} and said("id places none, not being like GEN.1.1 in every line")


def test_links_count_the_lines_of_the_file(tmp_path):
    links = "from_line\tto_line\tvotes\n2\t5\t3\n5\t2\t1.5\n3\t2\t1\n1\t2\t9\n99\t2\t9\n"
    text = read_parallel(lines(tmp_path, "en\na a\nb\n\nc\n", links))
    assert text.links.tolist() == [[0, 1], [0, 2]] and text.votes.tolist() == [1.0, 4.5]
    assert said("blank lines, which are passed over: 1") and said("of 5 references", "2 to units")
    assert said("5 references from text.links.tsv, whose numbers count every line")


def test_links_need_neither_header_nor_votes(tmp_path):
    lines(tmp_path, "a a\nb\nc\n", "1\t3\n\n")
    text = read_parallel(tmp_path)  # the folder: the links are no other text
    assert text.links.tolist() == [[0, 2]] and text.votes.tolist() == [1.0]


@pytest.mark.parametrize("line", ["1", "1\tx", "1\t2\t3\t4", "0\t1", "1\t-2", "1.5\t2", "from\tto", "1\t2\tmany"])
def test_links_that_are_no_numbers_are_refused(tmp_path, line):
    assert "line 2 of text.links.tsv is" in refused(lines(tmp_path, "a a\nb\n", f"1\t2\n{line}\n"))


def test_links_with_votes_that_are_not_finite_are_refused(tmp_path):
    assert "reference 1 has inf votes" in refused(lines(tmp_path, "a a\nb\n", "1\t2\tinf\n"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a a\tb\n\nc\td\ne\n", "line 4 has 1 cells, not 2 as line 1 has"),
        ("en\tde\na\tb\tc\n", "line 2 has 3 cells, not 2"),
        ("", "holds no text"),
        ("\n\n", "holds no text"),
        ("en\n", "0 units"),
        ("en\na a\n", "1 units"),
        ("book\tchapter\nA\t1\n", "none holds text"),
        ("verse\ten\n1\ta\n", "'verse' needs a column 'chapter'"),
        ("chapter\tverse\ten\n1\tx\ta\n", "line 2: its verse is 'x'"),
        ("chapter\tverse\ten\n1\t²\ta\n", "line 2: its verse is '²'"),
        ("chapter\ten\n9999999999\ta\n", "line 2: its chapter is '9999999999'"),
        ("book\ten\nA\ta\n\tb\n", "line 3: its book is ''"),
        ("chapter\tverse\ten\n1\t1\ta\n1\t1\tb\n", "en has two different texts of book 1, chapter 1, verse 1"),
        ("en\na\0\nb\n", "NUL"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path, content, words):
    assert words in refused(lines(tmp_path, content), f"data.root={tmp_path}")


def test_invalid_utf8_is_refused_by_line(tmp_path):
    (tmp_path / "text.tsv").write_bytes(b"a a\tb\nc\t\xff\n")
    assert "invalid UTF-8 in line 2" in refused(tmp_path)


def test_ends_of_lines_do_not_matter(tmp_path):
    text = read_parallel(lines(tmp_path, "\ufeffen\tde\r\na a\tb\r\nc\td\r\n"))
    assert text.texts == {"en": ["a a", "c"], "de": ["b", "d"]}


@pytest.mark.parametrize(("count", "books"), [(60, 3), (400, 10), (1000, 10), (2000, 20)])
def test_a_text_without_places_has_ten_books_or_a_book_a_chapter(tmp_path, count, books):
    content = "en\tde\n" + "".join(f"line {row}\tZeile {row}\n" for row in range(count))
    text = read_parallel(lines(tmp_path, content))
    assert len(text.book_names) == books and len(text.documents()) == count // 20


@pytest.mark.parametrize(
    ("chapters", "length", "books", "words"),
    [
        (10, 100, 10, "each chapter is a book"),
        (29, 30, 15, "2 consecutive chapters are a book"),
        (60, 4, 12, "5 consecutive chapters are a book"),
    ],
)
def test_a_column_of_chapters_says_how_many_make_a_book(tmp_path, chapters, length, books, words):
    rows = range(chapters * length)
    content = "chapter\ten\n" + "".join(f"{row // length + 1}\tline {row}\n" for row in rows)
    text = read_parallel(lines(tmp_path, content))
    assert len(text.book_names) == books and len(text.documents()) == chapters and said(words)
