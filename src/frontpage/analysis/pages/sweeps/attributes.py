"""What a study and its trials say of themselves, read from a storage that anyone may have written to."""

from collections.abc import Mapping
from typing import Any

from frontpage.command.check import fits
from frontpage.command.notices import notice

TEXTS = "sweep_dir directory command git_commit search reason"
KINDS = {name: (str, "text") for name in TEXTS.split()}
KINDS |= {name: (list[str], "list of texts") for name in ("objectives", "overrides")} | {"space": (dict, "object")}


def attributes_of(given: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """The user attributes of a study or a trial; one of a wrong type is left out, with a notice that names it."""
    found = {}
    for name, value in given.items():
        kind, words = KINDS.get(name, (Any, ""))
        if value is None or fits(value, kind):
            found[name] = value
        else:
            notice(f"{whose}: its attribute {name} is no {words}; it counts as if it were not there")
    return found
