"""Values in Hydra's grammar for command lines, which YAML reads alike."""

import json
import re
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf


def word(value: Any) -> str:
    """A value as the right side of an override; `${...}` stays an interpolation."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(word, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{word(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return value if _plain(value) else _quoted(value)
    return repr(value) if isinstance(value, float) else json.dumps(value)


def literal(text: str) -> str:
    """A text that stands for itself, such as a path, even where `${` is in it."""
    return word(text.replace("${", "\\${"))


def _quoted(text: str) -> str:
    """In quotes, as Hydra reads them: backslashes stand for themselves, except before a quote."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text) + '"'


def _plain(text: str) -> bool:
    """Whether a text needs no quotes: it is a word that does not read as a number, a truth value or null."""
    if not re.fullmatch(r"[A-Za-z_/][\w./-]*", text):
        return False
    return isinstance(OmegaConf.create(f"x: {text}").x, str) and text.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    )


ALLOWED = "interval(a,b) int(interval(a,b)) tag(log,interval(a,b)) choice(a,b) range(a,b), with a below b"
