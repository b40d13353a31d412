"""What every adapter checks of a file and its values; each error is a BadValue that names the corpus and the place."""

import json
import re
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue

KEY = "data.root"
MOST = 2**31 - 1  # what an int32 holds
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell it, UTF-8 cannot
# What would break a line or is none: control characters, and the line and paragraph separators.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def json_objects(path: Path, root: object) -> list[dict[str, Any]]:
    """The list of objects that a JSON file holds; a mark at its beginning is left out."""
    found = json_value(path, root)
    if not isinstance(found, list):
        raise BadValue(KEY, root, f"{path.name} holds {shown(found)}, not a list of objects")
    for number, value in enumerate(found, start=1):
        if not isinstance(value, dict):
            raise BadValue(KEY, root, f"{path.name}: entry {number} is {shown(value)}, not an object")
    return found


def json_value(path: Path, root: object) -> Any:
    """What a JSON file holds, in which no object has two values of one name."""

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise BadValue(KEY, root, f"{path.name} has an object with two values of '{twice}'")
        return found

    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=as_object)
    except UnicodeDecodeError as error:
        raise BadValue(KEY, root, f"{path.name} holds invalid UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise BadValue(KEY, root, f"{path.name} is not JSON: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise BadValue(
            KEY, root, f"{path.name} is not JSON that can be read: too deep, or a number too long"
        ) from error


def shown(value: object) -> str:
    """A value of a file as a message shows it: short, on one line."""
    if value is None:
        return "nothing (null)"
    kinds = {dict: "an object", list: "a list", bool: "true or false", float: "a number with a fraction"}
    return kinds.get(type(value)) or repr(value)[:60]


def whole_number(value: object, what: str, root: object, least: int = 0) -> int:
    """A whole number that an int32 holds; `what` says in the error where it stands and what it is."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise BadValue(KEY, root, f"{what} is {shown(value)}, not a whole number of {least} or more")
    return value


def book_name(value: object, what: str, root: object) -> str:
    """The name of a book, which a file gives as a word or as a whole number."""
    if isinstance(value, str) and clean(value)[0]:
        if SURROGATE.search(value):
            raise BadValue(KEY, root, f"{what} is not valid Unicode: it holds half of a surrogate pair")
        return clean(value)[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadValue(KEY, root, f"{what} is {shown(value)}, neither a word nor a whole number")


def clean(text: str) -> tuple[str, bool]:
    """The text on one line, without outer blanks, and whether it held a character that a blank now stands for."""
    text = text.strip()
    if not text.isprintable() and CONTROL.search(text):
        return CONTROL.sub(" ", text).strip(), True
    return text, False
