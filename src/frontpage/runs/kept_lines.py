"""Files of lines that a run appends to, and takes lines back from when it goes on from an earlier update."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frontpage.command.disk_full import replacing


def json_of(line: bytes | str) -> Any:
    """What a line of JSON holds; None for one that damage has left unreadable, however it has."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def keep_lines(path: Path, keep: Callable[[str], bool]) -> None:
    """Replace a file of lines by those that `keep` holds true for; a line that a crash has cut off is left out."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().split(b"\n")[:-1]:  # behind the last newline is nothing, or what was cut off
        try:
            if keep(line.decode("utf-8")):
                kept.append(line + b"\n")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # no text, number, JSON or object
            continue
    with replacing(path) as partial:
        partial.write_bytes(b"".join(kept))
