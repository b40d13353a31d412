"""The titles behind the records: made from the public data set that they came from, the same on every machine."""

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue

SOURCE = "massanishi/hackernews-post-datasets"
FIRST_ID, LAST_DAY = 11_000_000, "2020-05-31"  # of an item; of a title: what the records were made of
REMOVED = {"[flagged]", "[deleted]", "[dead]"}  # what the site shows in place of a title
ENTITY = re.compile(r"&#?\w+;")
NO_TEXT = {"Cc", "Cn", "Co", "Cs"}  # Unicode's categories of control, unassigned and private characters, and halves


def read_items(folder: Path) -> Iterator[dict[str, Any]]:
    """The items of a clone of SOURCE; UserError where it is none."""
    files = sorted(folder.glob("hackernews_parents_*.json"))
    if not files:
        raise BadValue(
            "folder", folder, f"a clone of https://github.com/{SOURCE}: no hackernews_parents_*.json is there"
        )
    for path in files:
        if int(path.stem.rpartition("_")[2]) >= FIRST_ID:
            try:
                yield from json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise BadValue("folder", path, f"cannot be read ({error})") from error


def titles_of(items: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """(day, title) of each distinct title on its first day (UTC), by day and title.

    Entities are decoded, outer blanks taken off; what is empty, was removed or has characters of NO_TEXT is left out.
    """
    found: dict[str, str] = {}
    for item in sorted(items, key=lambda one: one["time"]):
        day = datetime.fromtimestamp(item["time"], UTC).date().isoformat()
        title = ENTITY.sub(lambda entity: html.unescape(entity[0]), item.get("title") or "").strip()
        if not title or day > LAST_DAY or title in REMOVED:
            continue
        if not NO_TEXT & {unicodedata.category(character) for character in title}:
            found.setdefault(title, day)
    return sorted((day, title) for title, day in found.items())
