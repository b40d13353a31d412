"""A length of time in a config: DD:HH:MM:SS, or a mapping such as {minutes: 5}."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from frontpage.command.limits import Limit


class Duration(Limit):
    """A length of time above 0, as `seconds_of` reads it; what is neither text nor a mapping may stand beside it."""

    words = "DD:HH:MM:SS, not all 0, at most 999999999 days"

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str | Mapping):
            return True
        try:
            return seconds_of(value) > 0
        except (ValueError, TypeError, OverflowError):
            return False


def seconds_of(duration: str | Mapping[str, Any]) -> float:
    """Seconds of DD:HH:MM:SS, or of a mapping such as {minutes: 5}; ValueError, TypeError or OverflowError for others.

    `timedelta` takes no more than 999999999 days.
    """
    if isinstance(duration, str):
        if not re.fullmatch(r"[0-9]+(:[0-9][0-9]?){3}", duration):
            raise ValueError(f"{duration}: not DD:HH:MM:SS")
        duration = dict(zip(("days", "hours", "minutes", "seconds"), map(int, duration.split(":")), strict=True))
    return timedelta(**duration).total_seconds()
