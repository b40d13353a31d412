"""The promises of reading: every format gives the same titles back; which are taken, and on which side they lie."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from random_titles import random_rows

from frontpage.command.errors import UserError
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles, select_titles
from frontpage.data.times import read_times

TITLES = [
    "Show HN: A plain title",
    "NA",
    "null",
    "None",
    "nan",
    "2014",
    "1e5",
    "true",
    "2014-05-01",
    'She said "hello", twice',
    '"quoted"',
    "It's a 'test'",
    "one, two,, three",
    "two  inner   blanks",
    "tab\tinside",
    "back\\slash \\n is not a newline",
    "naïve café – “quotes” …",
    "日本語のタイトル",
    "emoji 🚀 and a family 👨‍👩‍👧",
    "line separator \u2028 and paragraph \u2029 inside",
    "next line \x85, form feed \x0c and vertical tab \x0b",
    "e\u0301 is not é",
    "no\u00a0break and zero\u200bwidth",
    "{'a': [1]} <eos> #comment; %20",
    " outer blanks ",
    "Show HN: A plain title",
]
SUFFIXES = [".parquet", ".csv", ".jsonl", ".ndjson", ".json", ".txt", ".CSV"]


def write(path: Path, titles: list[str], column: str = "title", ending: str = "\n") -> Path:
    """A file of titles in the format that its name tells, with another column before and after where there can be."""
    others = range(len(titles))
    kind = path.suffix.lower()
    if kind == ".parquet":
        pa.parquet.write_table(pa.table({"id": list(others), column: titles, "score": list(others)}), path)
    elif kind == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator=ending)
            rows.writerow(["id", column, "score"])
            rows.writerows((number, title, number) for number, title in zip(others, titles, strict=True))
    elif kind == ".txt":
        path.write_text("".join(title + ending for title in titles), encoding="utf-8", newline="")
    else:
        lines = (json.dumps({"id": 1, column: title}, ensure_ascii=number % 2) for number, title in enumerate(titles))
        path.write_text("".join(line + ending for line in lines), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_titles_back(tmp_path, suffix):
    assert read_titles(write(tmp_path / f"titles{suffix}", TITLES)) == TITLES
    assert read_titles(str(write(tmp_path / f"alone{suffix}", TITLES[:1]))) == TITLES[:1]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_any_column_can_be_read(tmp_path, suffix):
    path = write(tmp_path / f"titles{suffix}", TITLES, "über, schrift")
    assert read_titles(path, "über, schrift") == TITLES


@pytest.mark.parametrize("kind", ["large_string", "string_view", "dictionary"])
def test_parquet_text_of_any_kind(tmp_path, kind):
    column = pa.array(TITLES)
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pa, kind)())
    pa.parquet.write_table(pa.table({"title": column}), tmp_path / "titles.parquet", row_group_size=5)
    assert read_titles(tmp_path / "titles.parquet") == TITLES


def test_newlines_inside_titles(tmp_path):
    titles = ["first\nsecond line", "carriage\r\nreturn", "\n", "plain"] * 200
    for suffix in (".parquet", ".csv", ".jsonl"):
        assert read_titles(write(tmp_path / f"titles{suffix}", titles)) == titles


def test_a_big_csv_file_is_read_in_several_blocks(tmp_path):
    titles = [f"title {number}, with\na newline and “quotes”" for number in range(40_000)]
    path = write(tmp_path / "titles.csv", titles)
    assert path.stat().st_size > 2 * 2**20
    assert read_titles(path) == titles


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_the_last_line_may_lack_its_newline(tmp_path, suffix):
    path = write(tmp_path / f"titles{suffix}", TITLES)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_titles(path) == TITLES


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_files_from_windows(tmp_path, suffix):
    path = write(tmp_path / f"titles{suffix}", TITLES, ending="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # the mark that Windows editors put first
    assert [title.strip() for title in read_titles(path)] == [title.strip() for title in TITLES]


def test_blank_lines(tmp_path):
    path = tmp_path / "titles.jsonl"
    path.write_text('\n{"title": "first"}\n\n  \n{"title": "second"}\n\n', encoding="utf-8")
    assert read_titles(path) == ["first", "second"]
    path = tmp_path / "titles.txt"
    path.write_text("first\n\n  second \n", encoding="utf-8")
    assert read_titles(path) == ["first", "", "  second "]


def test_escaped_pairs_are_one_character(tmp_path):
    path = tmp_path / "titles.jsonl"
    path.write_text('{"title": "\\ud83d\\ude80 \\u00e9"}\n', encoding="utf-8")
    assert read_titles(path) == ["🚀 é"]


def test_an_unquoted_csv_cell_stays_text(tmp_path):
    path = tmp_path / "titles.csv"
    path.write_text("title,score\nNA,1\nnull,2\n2014,3\n,4\n1.50,5\n", encoding="utf-8")
    assert read_titles(path) == ["NA", "null", "2014", "", "1.50"]


def bad_file(directory: Path, name: str) -> Path:
    """A file of titles with the mistake that its name tells."""
    path = directory / name
    titles = [f"title {number}" for number in range(10)]
    column = pa.array(titles)
    tables = {
        "number.parquet": {"title": pa.array([2014] * 10)},
        "null.parquet": {"title": pa.array([*titles, None])},
        "binary.parquet": {"title": pa.array([b"\xff"] * 10)},
        "column.parquet": {"titel": column, "score": column},
        "broken-utf8.parquet": {"title": pa.StringArray.from_buffers(10, *pa.array([b"a\xff"] * 10).buffers()[1:])},
    }
    texts = {
        "empty.csv": b"",
        "empty.txt": b"",
        "empty.parquet": b"",
        "garbage.parquet": b"PAR1 this is no Parquet file PAR1",
        "titles.xls": b"title",
        "titles": b"title",
        "header.csv": b"title,score\n",
        "column.csv": b"titel,score\nA,1\n",
        "ragged.csv": b"title,score\nA,1\nB,2,3\n",
        "utf8.csv": b"title,score\nA,1\nB\xff,2\n",
        "utf8.txt": b"good\nb\xe4d\n",
        "utf8.jsonl": b'{"title": "good"}\n{"title": "b\xe4d"}\n',
        "blank.txt": b" \n\t\n\n",
        "blank.jsonl": b'{"title": " "}\n{"title": ""}\n',
        "broken.jsonl": b'{"title": "good"}\n\n{"title": "bad\n',
        "list.jsonl": b'["good"]\n',
        "column.jsonl": b'{"title": "good"}\n{"titel": "bad"}\n',
        "number.jsonl": b'{"title": "good"}\n{"title": 2014}\n',
        "null.jsonl": b'{"title": "good"}\n{"title": null}\n',
        "surrogate.jsonl": b'{"title": "good"}\n{"title": "half \\ud83d of it"}\n',
    }
    if name in tables:
        pa.parquet.write_table(pa.table(tables[name]), path)
    elif name in texts:
        path.write_bytes(texts[name])
    elif name == "directory.csv":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("nowhere.csv", ["no such file"]),
        ("directory.csv", ["not a file"]),
        ("titles.xls", [".parquet .csv .tsv .jsonl .ndjson .json .txt"]),
        ("titles", [".parquet .csv"]),
        ("empty.csv", ["empty"]),
        ("empty.txt", ["empty"]),
        ("empty.parquet", ["empty"]),
        ("header.csv", ["no titles"]),
        ("garbage.parquet", ["not a readable Parquet file"]),
        ("column.parquet", ["data.column=title", "did you mean 'titel'", "titel, score"]),
        ("column.csv", ["data.column=title", "did you mean 'titel'", "titel, score"]),
        ("column.jsonl", ["data.column=title", "line 2", "did you mean 'titel'"]),
        ("number.parquet", ["row 1", "'title'", "2014", "not text"]),
        ("binary.parquet", ["row 1", "'title'", "not text"]),
        ("null.parquet", ["row 11", "'title'", "null", "not text"]),
        ("number.jsonl", ["row 2", "'title'", "2014", "not text"]),
        ("null.jsonl", ["row 2", "'title'", "null", "not text"]),
        ("broken-utf8.parquet", ["invalid UTF-8", "'title'"]),
        ("utf8.csv", ["invalid UTF-8", "line 3"]),
        ("utf8.txt", ["invalid UTF-8", "line 2"]),
        ("utf8.jsonl", ["invalid UTF-8", "line 2"]),
        ("surrogate.jsonl", ["line 2", "surrogate"]),
        ("ragged.csv", ["not a readable CSV file", "line 3 has 3 cells, the first line 2"]),
        ("broken.jsonl", ["line 3", "not JSON"]),
        ("list.jsonl", ["row 1 of the array", "not a JSON object"]),
        ("blank.txt", ["all 3 titles", "blank"]),
        ("blank.jsonl", ["all 2 titles", "blank"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, pieces):
    path = bad_file(tmp_path, name)
    with pytest.raises(UserError) as raised:
        read_titles(path)
    for piece in (f"data.path={path}", *pieces):
        assert piece in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 1_454_155_200_000], pa.timestamp("s")),  # milliseconds
        pa.array([0, 2**62], pa.timestamp("us")),
        pa.array([0, 2**30], pa.date32()),
        pa.array([0, 2**62], pa.duration("s")),
    ],
    ids=lambda column: str(column.type),
)
def test_times_that_python_has_no_object_for_are_out_of_range(tmp_path, column):
    path = tmp_path / "titles.parquet"
    pa.parquet.write_table(pa.table({"title": ["a", "b"], "created": column}), path)
    for read, option in ((read_times, "data.time_column"), (read_titles, "data.column")):
        with pytest.raises(UserError) as raised:
            read(path, "created")
        assert str(raised.value).startswith(f"{option}=created: data.path={path} holds a value out of range (")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("trial", range(100))
def test_selection_is_what_its_description_says(trial):
    generator = random.Random(trial)
    rows = random_rows(generator)
    there = {row.strip() for row in rows} - {""}
    num_titles = generator.choice([None, generator.randint(1, max(len(there), 1))])
    max_titles = generator.choice([None, None, generator.randint(1, 300)])
    val_frac = generator.choice([0.1, 0.5, generator.uniform(0.01, 0.99)])
    seed = generator.randrange(2**32)

    expected: list[str] = []
    blank = repeated = 0
    wanted = min(num_titles or len(rows), max_titles or len(rows))
    for index in np.random.default_rng(seed).permutation(len(rows)):
        if len(expected) < wanted:
            title = rows[index].strip()
            blank += title == ""
            repeated += title in expected
            expected += [title] if title and title not in expected else []
    split = int(len(expected) * (1 - val_frac))

    arguments = {"num_titles": num_titles, "max_titles": max_titles, "val_frac": val_frac, "seed": seed}
    if split in (0, len(expected)):
        with pytest.raises(UserError, match="data.val_frac"):
            select_titles(rows, **arguments)
        return
    chosen = select_titles(rows, **arguments)
    assert (chosen.train, chosen.validation) == (expected[:split], expected[split:])
    assert not set(chosen.train) & set(chosen.validation)
    assert (chosen.rows, chosen.blank, chosen.repeated) == (len(rows), blank, repeated)
    assert distinct_titles(rows) == list(dict.fromkeys(row.strip() for row in rows if row.strip()))


def test_too_few_titles_are_an_error_with_num_titles_and_none_with_max_titles():
    rows = [f"title {number}" for number in range(10)] * 2
    with pytest.raises(UserError, match="data.num_titles=11: the source has only 10 distinct titles"):
        select_titles(rows, num_titles=11)
    assert len(select_titles(rows, num_titles=None, max_titles=11).train) == 9
