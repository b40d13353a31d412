"""A page of the docs that a script writes: written, or compared with what would be written."""

from pathlib import Path

from frontpage.command.endings import Failure
from frontpage.command.output_file import replace_file


def settle_page(path: Path, text: str, says: str, command: str, check: bool) -> None:
    """Write `text` to the page, or say that it is there; with `check` write nothing, and raise Failure where it is not.

    `says` names what the page is made of ("the records say"), `command` is what writes it anew.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        print(f"{path} is what {says}")
    elif check:
        raise Failure(f"{path} is not what {says}: {command} writes it anew")
    else:
        replace_file(path, text.encode("utf-8"))
        print(f"{path} is written")
