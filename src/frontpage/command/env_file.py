"""`.env`: settings of one's own machine, keys and tokens above all, that no config and no commit should hold."""

import os
from pathlib import Path

from dotenv.parser import parse_stream  # load_dotenv() would go on past a line that it cannot read

from frontpage.command.errors import UserError
from frontpage.command.masking import remember_variable


def load_env_file(path: Path | str = ".env") -> list[str]:
    """Set the environment variables of `path` that are not set yet; the names that the file holds, none without a file.

    Lines are what python-dotenv takes, `$` stands for itself, an empty value sets nothing. Raises UserError with a
    line's number, never with what stands in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = list(parse_stream(file))
    except (FileNotFoundError, IsADirectoryError):  # a folder: of a virtual environment
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); lines of KEY=VALUE are allowed") from error
    for key, value, read, wrong in found:
        if wrong or (key and value is None):
            blank = len(read.string) - len(read.string.lstrip())
            number = read.line + read.string[:blank].count("\n")
            raise UserError(f"{path}, line {number}: not KEY=VALUE, or a quote that is not closed")
    settings = {one.key: one.value for one in found if one.key}
    for key, value in settings.items():
        remember_variable(key)
        if value:
            os.environ.setdefault(key, value)
    return list(settings)
