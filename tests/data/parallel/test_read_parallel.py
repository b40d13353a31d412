"""What holds of every parallel corpus: nothing is altered silently, and one format at most is what lies there."""

import numpy as np
import pytest
from parallel_corpora import PLAIN, lines, lists, references, refused, said, verses

from frontpage.command.notices import forget_notices, notices
from frontpage.data.parallel.links import undirected
from frontpage.data.parallel.read import read_parallel


@pytest.fixture(autouse=True)
def fresh_notices():
    forget_notices()


def test_blank_texts_are_lacking(tmp_path):
    rows = [*PLAIN, (1, 1, 1, "de_b", " \u00a0"), (1, 1, 2, "de_b", None), (2, 1, 1, "de_b", "drei")]
    text = read_parallel(verses(tmp_path, rows))
    assert text.texts["de_b"] == [None, None, "drei"]
    assert said("blank texts, which count as lacking: 2") and said("of 3 units these are lacking: de_b 2")


def test_a_unit_without_any_text_is_left_out_and_links_to_it_are_dropped(tmp_path):
    verses(tmp_path, [*PLAIN, (1, 9, 9, "en_a", "")])
    text = read_parallel(references(tmp_path, [(1, 9, 9, 1, 1, 1, 1), (1, 1, 1, 1, 1, 2, 1)]))
    assert len(text.books) == 3 and text.links.tolist() == [[0, 1]]
    assert said("without a text in any translation, which are left out: 1") and said("1 to units that are not")


@pytest.mark.parametrize("held", ["a\tb", "a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b", "\x07a\x07b"])
def test_a_blank_stands_for_a_control_character(tmp_path, held):
    text = read_parallel(verses(tmp_path, [*PLAIN, (3, 1, 1, "en_a", held)]))
    assert text.texts["en_a"][3] == "a b"
    assert said("control characters or ends of lines", ": 1")


@pytest.mark.parametrize("held", ["\"a\" 'b' \\n", "naïve — “x” 日本語", "a\u00a0b", "a\u200bb", "👨‍👩‍👧", "a  b"])
def test_other_characters_are_kept(tmp_path, held):
    text = read_parallel(verses(tmp_path, [*PLAIN, (3, 1, 1, "en_a", f" {held} ")]))
    assert text.texts["en_a"][3] == held and not notices()


def test_identical_repeats_are_counted_and_a_blank_one_does_not_conflict(tmp_path):
    rows = [*PLAIN, PLAIN[0], (1, 1, 2, "en_a", " two "), (2, 1, 1, "en_a", "")]
    text = read_parallel(verses(tmp_path, rows))
    assert text.texts == {"en_a": ["one", "two", "three"]}
    assert said("repeat the same text of the same unit", ": 2")


def test_a_link_is_undirected_and_its_votes_add_up():
    generator = np.random.default_rng(0)
    pairs, votes = generator.integers(-1, 12, size=(400, 2)), generator.integers(-2, 9, size=400)
    links, sums = undirected(pairs, votes, "here")
    expected = {}
    for (start, end), vote in zip(pairs.tolist(), votes.tolist(), strict=True):
        if start != end and min(start, end) >= 0 and vote > 0:
            key = (min(start, end), max(start, end))
            expected[key] = expected.get(key, 0) + vote
    assert [tuple(link) for link in links.tolist()] == sorted(expected)
    assert sums.tolist() == [expected[key] for key in sorted(expected)]


def test_what_is_not_there_or_not_known_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "data.root=", "no such folder or file")
    message = refused(tmp_path, "nothing that is known lies here")
    assert all(one in message for one in ("verses.parquet", "complete/*.json", "*.tsv", "folders with one *.json"))
    (tmp_path / "text.csv").write_text("a,b\n")
    refused(tmp_path / "text.csv", "ends in .tsv")
    refused(tmp_path / "text.csv", "from a .tsv", format="lines")
    refused("https://example.org/bible", "a URL")
    refused("~nobody-of-that-name/x", "no such user")
    refused("", "the path of a folder")
    refused("a\0b", "the path of a folder")
    refused("\udcff", "no UTF-8")
    refused("x" * 5000, "cannot be read")


def test_two_formats_in_one_folder_are_told_apart_by_asking(tmp_path):
    verses(lists(tmp_path, en=["a", "b"]), PLAIN)
    lines(tmp_path, "x x\ny\n")
    refused(tmp_path, "verses.parquet and one *.tsv and folders", "data.format=parquet|lines|chapters")
    assert list(read_parallel(tmp_path, "chapters").texts) == ["en"]
    assert list(read_parallel(tmp_path, format="parquet").texts) == ["en_a"]
    assert list(read_parallel(str(tmp_path), "lines").texts) == ["text_1"]
    refused(tmp_path, "no complete/*.json", format="complete")
    refused(tmp_path, "data.format=xml: one of auto parquet complete lines chapters", format="xml")


def test_a_folder_that_lacks_the_format_asked_for_is_refused(tmp_path):
    refused(tmp_path, "no verses.parquet", format="parquet")
    refused(tmp_path, "no folders of locales", format="chapters")
    refused(tmp_path, "0 files *.tsv", format="lines")
    path = lines(tmp_path, "a a\nb\n")
    refused(path, "this is a file; format=parquet needs the folder that holds verses.parquet", format="parquet")
    lines(tmp_path, "a a\nb\n", name="more.tsv")
    refused(tmp_path, "2 files *.tsv lie here")
    assert len(read_parallel(path).books) == 2


@pytest.mark.parametrize("option", ["lines_per_chapter", "chapters_per_book"])
def test_counts_are_whole_numbers_above_zero_and_serve_lines_only(tmp_path, option):
    lines(tmp_path, "a a\nb\n")
    for value in (0, -1, 2.5, True, "3"):
        refused(tmp_path, f"data.{option}=", **{option: value})
    (tmp_path / "text.tsv").unlink()
    read_parallel(verses(tmp_path, PLAIN), **{option: 7})
    assert said("serve aligned lines only; this is read as parquet")


def test_a_file_that_must_not_be_read_is_refused(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "a.json").symlink_to(tmp_path / "en")
    refused(tmp_path, "cannot be read (Is a directory)")
