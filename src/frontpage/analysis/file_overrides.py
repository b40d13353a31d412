"""Which file a script scores, and how it is read, in the words of train.py: `data.path=FILE data.join=day`."""

from collections.abc import Iterable

from frontpage.command.errors import BadValue, UserError, nearest

KEYS = ("data.path", "data.column", "data.join", "data.time_column", "data.root")
ALLOWED = "data.path=FILE, data.join=none or day, data.time_column=NAME, data.column=NAME and data.root=FOLDER"
JOINS = ("none", "day")


def file_overrides(overrides: Iterable[str]) -> dict[str, str]:
    """The values by key; UserError for another key, and for a join that is none."""
    found = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if key not in KEYS or not equals:
            names = [known.removeprefix("data.") for known in KEYS]  # with it every key of data would look alike
            raise UserError(f"{override}: allowed are {ALLOWED}{nearest(key.removeprefix('data.'), names, 'data.')}")
        if key == "data.join" and value not in JOINS:
            raise BadValue(key, value, f"one of {' '.join(JOINS)}")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""  # as train.py takes it
        found[key] = value[1:-1] if quoted else value
    return found
