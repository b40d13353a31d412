"""The promise of CSV files: what a writer of any dialect wrote comes back exactly, and a row is never swallowed."""

import csv
import json
import random
from pathlib import Path

import pytest

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data import csv_file
from frontpage.data.files import read_titles
from frontpage.data.lines import lines_of

LETTERS = ['"', '""', "'", ",", ";", "\t", "|", "\n", "\r", "\r\n", "\\", " ", "a", "b", "é", "\u2028", "\x85", "\x0c"]


@pytest.fixture(autouse=True)
def no_notices_of_others():
    """Each test sees its own."""
    forget_notices()


def random_titles(generator: random.Random) -> list[str]:
    """Texts of everything that CSV can trip over, the first never blank."""
    count = generator.randint(1, 20)
    return ["x", *("".join(generator.choices(LETTERS, k=generator.randint(0, 12))) for _ in range(count))]


@pytest.mark.parametrize("trial", range(60))
def test_what_any_writer_wrote_comes_back(tmp_path, trial):
    generator = random.Random(trial)
    titles = random_titles(generator)
    others = generator.choice([0, 0, 1, 2])
    with (tmp_path / "titles.csv").open("w", newline="", encoding=generator.choice(["utf-8", "utf-8-sig"])) as file:
        rows = csv.writer(
            file,
            delimiter=generator.choice(",;\t|"),
            lineterminator=generator.choice(["\n", "\r\n"]),
            # Since some versions of Python leave a CR within a cell unquoted, the others quote all.
            quoting=csv.QUOTE_ALL if any("\r" in title for title in titles) else csv.QUOTE_MINIMAL,
        )
        rows.writerow(["id", "title", "score"][1 - min(others, 1) : 2 + others // 2])
        for number, title in enumerate(titles):
            rows.writerow([number, title, "a b"][1 - min(others, 1) : 2 + others // 2])
    assert read_titles(tmp_path / "titles.csv") == titles


@pytest.mark.slow
def test_a_carriage_return_and_newline_in_quotes_survives_wherever_a_block_may_end(tmp_path):
    titles = [f"{'x' * (number % 7)}\r\n{number}" for number in range(150_000)]  # pyarrow 26 lost some of their LF
    with (tmp_path / "titles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["title"], *([title] for title in titles)])
    assert read_titles(tmp_path / "titles.csv") == titles


def test_a_title_of_megabytes_is_read(tmp_path):
    (tmp_path / "titles.csv").write_text('title\n"' + "ab, " * 500_000 + '"\nshort\n', encoding="utf-8")
    assert read_titles(tmp_path / "titles.csv") == ["ab, " * 500_000, "short"]
    assert csv.field_size_limit() == 131_072  # the process's own is as it was


def lines(count: int, *changed: tuple[int, str]) -> str:
    """A header and `count` titles, some lines replaced; the header is line 1."""
    rows = ["title", *(f"Quiet river {number}" for number in range(2, count + 2))]
    for line, text in changed:
        rows[line - 1] = text
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        (lines(400, (42, '"Quoted words first, then more'), (342, '"Another such title')), ["line 42", "line 342"]),
        (lines(400, (42, '"Quoted words first'), (342, 'A disk of 5"')), ["line 42", "line 342"]),
        (lines(400, (30, 'A "quoted" word'), (42, '"Quoted'), (52, 'A disk of 5"')), ["line 30", "line 42 to line 52"]),
        (lines(400, (90, 'A "quoted" word'), (42, '"Quoted'), (52, 'A disk of 5"')), ["line 90", "line 42 to line 52"]),
        (lines(400, (302, '"never closed')), ["line 302", "never closed"]),
        ('title,score\n"a \\"quiet\\" title",0\n', ["line 2", 'not written \\"']),
        ('title,score\n"x \\"",0\n"y \\"",1\n', ["line 2", "line 3", 'not written \\"']),
        ('id,title\n1, "Quiet river"\n', ["line 2", "blanks before a quotation mark"]),
        ("id,title\n1,Quiet, river\n", ["line 2", "3 cells", "the first line 2"]),
        ("id;title\n1;Quiet;river\n", ["line 2", "3 cells", "the first line 2", "';'"]),
        ("id,title\n1,Quiet\n\n2\n", ["line 4", "1 cells"]),
        ("id,title\n1,Quiet\rriver\n", ["line 2", "carriage return"]),
        ("title\nQuiet\0river\n", ["line 2", "NUL"]),
        ("t\0i\0t\0l\0e\0\n\0", ["line 1", "NUL", "UTF-16"]),
        ("Quiet river,4\nCompiler,5\n", ["data.column=title", "first line", "Quiet river, 4"]),
        ("title,by,title\na,b,c\n", ["data.column=title", "2 columns of this name"]),
        ('id,"title\n1,a\n', ["data.column=title", 'id,"title']),
        ("sep=;\nid,title\n1,a\n", ["data.column=title", "id,title"]),
    ],
)
def test_a_row_is_refused_rather_than_swallowed_or_altered(tmp_path, content, pieces):
    (tmp_path / "titles.csv").write_text(content, encoding="utf-8", newline="")
    with pytest.raises(UserError) as raised:
        read_titles(tmp_path / "titles.csv")
    for piece in (f"data.path={tmp_path}/titles.csv", *pieces):
        assert piece in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_quotation_mark_that_is_never_closed_is_not_followed_to_the_end_of_the_file(tmp_path, monkeypatch):
    read, path = [], tmp_path / "titles.csv"
    path.write_text(lines(20_000, (42, '"never closed')), encoding="utf-8")
    monkeypatch.setattr(csv_file, "lines_of", lambda *given: (read.append(line) or line for line in lines_of(*given)))
    with pytest.raises(UserError) as raised:
        read_titles(path)
    words = "the quotation mark opened in line 42 is not closed within 10,000 lines"
    assert str(raised.value) == f"data.path={path}: {words}; {csv_file.RULE}" and len(read) < 10_100


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("semicolons.csv", "id;title\n0;Quiet, river\n", ["Quiet, river"]),
        ("quoted.csv", '"id";"title"\n"0";"a ""b""; c"\n', ['a "b"; c']),
        ("tabs.tsv", "id\ttitle\n0\tQuiet, river\n", ["Quiet, river"]),
        ("excel.csv", "sep=;\r\nid;title\r\n0;Quiet, river\r\n", ["Quiet, river"]),
        ("excel.csv", '"sep=^"\r\nid^title\r\n0^Quiet, river\r\n', ["Quiet, river"]),
        ("marks.csv", 'title\nA "quoted" word\nA disk of 5"\n', ['A "quoted" word', 'A disk of 5"']),
        ("doubled.csv", 'id,title\na "b","""Quiet"" river"\n', ['"Quiet" river']),
        ("first.csv", "title;n,title\na;1,b\n", ["b"]),
        ("long.csv", f'title\n"{"x" + 49 * chr(10)}"\n', ["x" + 49 * "\n"]),
        ("blank.csv", '\n\ntitle\n\nQuiet\n""\n', ["Quiet", ""]),
        ("old.csv", 'title\rQuiet\r"a\rb"\r', ["Quiet", "a\rb"]),
        ("old.txt", "Quiet\rriver\r", ["Quiet", "river"]),
        ("windows.txt", "Quiet\r\nriver", ["Quiet", "river"]),
        ("old.jsonl", '{"title": "Quiet"}\r{"title": "river"}\r', ["Quiet", "river"]),
        ("array.json", '[{"id": 0, "title": "Quiet"}, {"title": "river"}]', ["Quiet", "river"]),
        ("array.jsonl", '\n [\n {"title": "Quiet"},\n {"title":\n "river"}\n]\n', ["Quiet", "river"]),
    ],
)
def test_real_files_of_several_kinds(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read_titles(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "pieces"),
    [
        ("mixed.txt", b"Quiet\rriver\nLedger\n", ["line 1", "carriage return"]),
        ("nul.txt", b"Quiet\nriver\0\n", ["line 2", "NUL"]),
        ("nul.jsonl", b'{"title": "Quiet\\u0000"}\n', ["row 1", "NUL"]),
        ("marked.csv", "title\nQuiet\n".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
        ("latin.csv", "title\nQuiet\ncafé\n".encode("latin-1"), ["invalid UTF-8 in line 3"]),
        ("titles.csv.gz", b"\x1f\x8b", ["compressed", "unpack"]),
        ("gzip.csv", b"\x1f\x8b\x08\n", ["gzip", "unpack"]),
        ("bzip2.csv", b"BZh91AY\n", ["bzip2", "unpack"]),
        ("xz.csv", b"\xfd7zXZ\0\n", ["xz", "unpack"]),
        ("zstandard.csv", b"\x28\xb5\x2f\xfd\n", ["Zstandard", "unpack"]),
        ("long.csv", b'title\n"x' + 50 * b"\n" + b'"\n', ["opened in line 2", "closed in line 52"]),
        ("workbook.csv", b"PK\x03\x04\n", ["workbook", "CSV"]),
        ("parquet.csv", b"PAR1\n", ["Parquet"]),
        ("twice.jsonl", b'{"title": "a"}\n{"title": "b", "title": "c"}\n', ["line 2", "two values of this name"]),
        ("cut.json", b'[{"title": "a"},\n{"title": "b"}\n', ["line 3 is not JSON"]),
        ("column.json", b'[{"title": "a"},\n{"titel": "b"}]\n', ["row 2 of the array", "did you mean 'titel'"]),
        ("texts.json", b'["a", "b"]', ["row 1 of the array", "not a JSON object"]),
    ],
)
def test_what_else_can_be_wrong_with_a_file(tmp_path, name, content, pieces):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_titles(tmp_path / name)
    for piece in (f"data.path={tmp_path}/{name}", *pieces):
        assert piece in str(raised.value)
    assert "\n" not in str(raised.value)


def test_rows_of_several_lines_are_said(tmp_path):
    (tmp_path / "titles.csv").write_text('title\nQuiet\n"two\nlines"\n', encoding="utf-8")
    assert read_titles(tmp_path / "titles.csv") == ["Quiet", "two\nlines"]
    assert notices() == [f"data.path={tmp_path}/titles.csv: rows of several lines: 1, the first from line 3 to line 4"]


def test_a_column_of_a_text_file_is_said(tmp_path):
    (tmp_path / "titles.txt").write_text("Quiet\n", encoding="utf-8")
    assert read_titles(tmp_path / "titles.txt") == ["Quiet"] and notices() == []
    assert read_titles(tmp_path / "titles.txt", "headline") == ["Quiet"]
    assert "data.column=headline: a text file has no columns" in notices()[0]


@pytest.mark.parametrize("address", ["https://me:secret@example.org/titles.csv", "s3://bucket/titles.csv"])
def test_an_address_is_no_path(address):
    with pytest.raises(UserError) as raised:
        read_titles(address)
    assert f"data.path={address}: " in str(raised.value) and "download" in str(raised.value)


def test_a_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "titles.jsonl").write_text(json.dumps({"title": "Quiet"}), encoding="utf-8")
    assert read_titles("~/titles.jsonl") == ["Quiet"]
    with pytest.raises(UserError, match="no such user"):
        read_titles("~nobody-of-this-name/titles.jsonl")


def test_a_name_that_is_no_utf8_is_refused():
    with pytest.raises(UserError, match="no UTF-8"):
        read_titles(Path("caf\udce9.csv"))
