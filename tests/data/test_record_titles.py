"""Promises of the titles behind the records: which of the source's items they are, in what form and order."""

import json
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from programs import run_script

from frontpage.data.record_titles import titles_of


def item(title, day="2018-03-04", hour=5):
    time = datetime.fromisoformat(f"{day}T{hour:02}:00:00").replace(tzinfo=UTC)
    return {"title": title, "time": int(time.timestamp()), "type": "story"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("  A title ", "A title"),
        ("Q&amp;A &#x27;18", "Q&A '18"),
        ("less than &lt$100", "less than &lt$100"),  # no entity without its semicolon
        ("zero\u200bwidth", "zero\u200bwidth"),
        ("\u200bEurope", "\u200bEurope"),
        *((text, None) for text in ("", "  ", None, "[flagged]", "[deleted]", "a\x00b", "\uf8ff Watch")),
    ],
)
def test_a_title_is_as_the_api_has_it_or_left_out(written, read):
    assert titles_of([item(written)]) == ([] if read is None else [("2018-03-04", read)])


def test_a_title_has_its_first_day_and_the_last_day_is_the_records():
    items = [item("b", "2018-03-05"), item("b", "2018-03-04", 23), item("a", "2018-03-05"), item("c", "2020-06-01")]
    assert titles_of(items) == [("2018-03-04", "b"), ("2018-03-05", "a")]
    assert titles_of([item("d", "2020-05-31", 23)]) == [("2020-05-31", "d")]


def test_the_script_writes_a_file_once_and_leaves_older_items_out(tmp_path, capfd):
    clone, output = tmp_path / "clone", tmp_path / "titles.parquet"
    clone.mkdir()
    assert "no hackernews_parents" in run_script(capfd, "record_titles", clone, output).stderr
    for first, title in ((10_500_000, "old"), (11_000_000, "new"), (15_500_000, "newer")):
        (clone / f"hackernews_parents_{first}.json").write_text(json.dumps([item(title)]))
    ended = run_script(capfd, "record_titles", clone, output)
    assert (ended.status, ended.stderr) == (0, "") and "2 titles of 1 days" in ended.stdout
    expected = [{"title": "new", "created": "2018-03-04"}, {"title": "newer", "created": "2018-03-04"}]
    assert pq.read_table(output).to_pylist() == expected
    again = run_script(capfd, "record_titles", clone, output)
    assert again.status == 2 and "a file that is not there yet" in again.stderr
    (clone / "hackernews_parents_11000000.json").write_text("[{")
    assert run_script(capfd, "record_titles", clone, tmp_path / "other.parquet").status == 2
