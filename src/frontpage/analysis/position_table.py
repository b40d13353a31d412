"""Nats a character by position in the document, as a table for a console."""

from collections.abc import Sequence
from typing import Any

from frontpage.analysis.table_text import aligned


def position_table(positions: Sequence[dict[str, Any]]) -> str:
    """A line for each row of `PositionRow.as_dict`."""
    cells = [["tokens before", "nats a character", "error", "documents", "tokens", "characters"]]
    for one in positions:
        values = ("-" if one[name] is None else f"{one[name]:.6f}" for name in ("nats_per_char", "nats_per_char_se"))
        counts = (f"{one[name]:,}" for name in ("documents", "tokens", "characters"))
        cells.append([words_of(one["first"], one["end"]), *values, *counts])
    return aligned(cells)


def words_of(first: int, end: int) -> str:
    """The positions of one row."""
    return str(first) if end == first + 1 else f"{first} to {end - 1}"
