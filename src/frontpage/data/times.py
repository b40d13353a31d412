"""When titles were written: a column of a file as times in UTC, whatever it is spelled in."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue, UserError
from frontpage.data.files import read_column

ALLOWED = "a time is 2016-01-30, 2016-01-30T12:00:00 (UTC, or with its own +01:00), or seconds since 1970"


def read_times(path: str | Path, column: str = "created", key: str = "data.path") -> list[datetime]:
    """The time of every row of the file; `key` is named in errors (UserError)."""
    if Path(path).suffix.lower() == ".txt":
        raise BadValue("data.join", "day", f"{key}={path} is a text file, which has no column of times; none")
    path, values = read_column(path, column, key, "data.time_column")
    return as_times(values, column, f"{key}={path}")


def as_times(values: Sequence[Any], column: str, source: str) -> list[datetime]:
    """Each value as a time in UTC, without a zone; UserError that names the row which is none."""
    found = []
    for number, value in enumerate(values, start=1):
        try:
            found.append(_as_time(value))
        except (ValueError, OverflowError, OSError) as error:
            shown = "nothing (null)" if value is None else repr(value)[:60]
            raise UserError(
                f"data.time_column={column}: {source}: row {number} holds {shown}, which is no time\n{ALLOWED}"
            ) from error
    return found


def _as_time(value: Any) -> datetime:
    if isinstance(value, str):
        text = value.strip()
        number = text.isascii() and text.isdigit() and len(text) != len("20160130")
        value = int(text) if number else datetime.fromisoformat(text)
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("no time")
    return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)
