"""Files of lines that a run appends to, and takes lines back from when it goes on from an earlier update."""

from collections.abc import Callable
from pathlib import Path

from frontpage.command.disk_full import replacing


def keep_lines(path: Path, keep: Callable[[str], bool]) -> None:
    """Replace a file of lines by those that `keep` holds true for; a line that a crash has cut off is left out."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().split(b"\n")[:-1]:  # behind the last newline is nothing, or what was cut off
        try:
            if keep(line.decode("utf-8")):
                kept.append(line + b"\n")
        except (ValueError, AttributeError, TypeError):  # what is no text, no number, no JSON, no object
            continue
    with replacing(path) as partial:
        partial.write_bytes(b"".join(kept))
