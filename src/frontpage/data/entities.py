"""HTML entities in titles, as data sets that were scraped from pages hold them: undone, or told."""

import html
import re
from collections.abc import Sequence

from frontpage.command.notices import notice

ENTITY = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
)  # `&copy=2` of an address is none


def without_entities(titles: Sequence[str], undo: bool, source: str) -> list[str]:
    """The titles, their entities (`&amp;`, `&#34;`) undone once where `undo` is set; else a notice counts such rows.

    `source` is what the notice calls them.
    """
    if undo:
        return [undone(title) for title in titles]
    with_one = [found for title in titles if (found := first_entity(title))]
    if with_one:
        say_kept(len(with_one), len(titles), with_one[0], source)
    return list(titles)


def undone(title: str) -> str:
    """The title with its entities undone once."""
    return ENTITY.sub(lambda found: html.unescape(found[0]), title) if "&" in title else title


def first_entity(title: str) -> str | None:
    """The first entity that means something, where there is one: `&foo;` does not."""
    if "&" not in title:
        return None
    return next((found[0] for found in ENTITY.finditer(title) if html.unescape(found[0]) != found[0]), None)


def say_kept(count: int, rows: int, example: str, source: str) -> None:
    """A notice that so many rows hold entities, which are kept."""
    kept = f"{count} of {rows} rows hold HTML entities such as {example}, which are kept"
    notice(f"{source}: {kept}; runs with data.unescape_html=true undo them")
