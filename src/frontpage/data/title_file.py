"""A file of titles that is scored whole: its distinct titles, and the documents that they make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from frontpage.data.days import all_days
from frontpage.data.documents import APART, Documents
from frontpage.data.entities import without_entities
from frontpage.data.files import read_titles
from frontpage.data.selection import distinct_titles
from frontpage.data.times import read_times


class TitleFile(NamedTuple):
    """The distinct titles of a file in the order of its documents, and how many rows it has."""

    titles: list[str]
    documents: Documents
    rows: int


def read_title_file(path: str | Path, settings: Mapping[str, Any], key: str = "data.path") -> TitleFile:
    """The file as the `settings` say, of which those that a run had before they existed may be missing.

    They are `column join time_column unescape_html seed` as of TitleData; `key` is named in errors (UserError).
    """
    rows = read_titles(path, settings.get("column") or "title", key=key)
    rows = without_entities(rows, bool(settings.get("unescape_html")), f"{key}={path}")
    if settings.get("join", "none") == "none":
        return TitleFile(distinct_titles(rows), APART, len(rows))
    times = read_times(path, settings.get("time_column") or "created", key)
    return TitleFile(*all_days(rows, times, settings["seed"]), len(rows))
