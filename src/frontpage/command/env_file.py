"""`.env`: settings of one's own machine, keys and tokens above all, that no config and no commit should hold."""

import os
import re
import shlex
from pathlib import Path

from frontpage.command.errors import UserError
from frontpage.command.masking import remember_variable

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=(.*)")


def load_env_file(path: Path | str = ".env") -> list[str]:
    """Set the environment variables of `path` that are not set yet; the names that the file holds, none without a file
    (a folder of that name is none).

    A line is `KEY=VALUE`, with or without `export`, quoted as in a shell; # starts a comment; an empty value sets
    nothing. Raises UserError with the line's number, never with what stands in it.
    """
    if Path(path).is_dir():  # of a virtual environment
        return []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); lines of KEY=VALUE are allowed") from error
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        try:
            words = shlex.split(found[2], comments=True) if found else None
        except ValueError:  # a quote that is not closed
            words = None
        if words is None or len(words) > 1:
            raise UserError(f"{path}, line {number}: not KEY=VALUE; a value with blanks stands in quotes")
        names.append(found[1])
        remember_variable(found[1])
        if words and words[0]:
            os.environ.setdefault(found[1], words[0])
    return names
