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
        return [ENTITY.sub(lambda found: html.unescape(found[0]), title) if "&" in title else title for title in titles]
    with_one = [found[0] for title in titles if "&" in title and (found := _first(title))]
    if with_one:
        kept = f"{len(with_one)} of {len(titles)} rows hold HTML entities such as {with_one[0]}, which are kept"
        notice(f"{source}: {kept}; data.unescape_html=true undoes them")
    return list(titles)


def _first(title: str) -> re.Match[str] | None:
    """The first entity that means something: `&foo;` does not."""
    return next((found for found in ENTITY.finditer(title) if html.unescape(found[0]) != found[0]), None)
