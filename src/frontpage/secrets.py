"""What must not be read off a run: keys, tokens and passwords, and how they are hidden in all that is written."""

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SHORTEST = 6  # characters: hiding a shorter text wherever it occurs would hide ordinary words
SECRET_KEY = re.compile(r"(^|_)(api_?key|password|passwd|secret|token)$", re.IGNORECASE)  # of a config
SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)  # of an .env file

_OVERRIDE = re.compile(r"((?:^|[\s._+~'\"?&])(?:api_?key|password|passwd|secret|token)=)[^\s'\"]+", re.IGNORECASE)
_IN_URL = re.compile(r"(\w://[^\s/:@]*:)(?!\d+/)\S+(?=@)")  # a password may have / and @ in it; 8080/ is a port
_variables = {"WANDB_API_KEY", "HF_TOKEN"}
_values: set[str] = set()


def remember_variable(name: str) -> None:
    """The environment variable `name` came from an .env file: its value is a secret if its name says so."""
    if SECRET_VARIABLE.search(name):
        _variables.add(name)


def remember_value(value: object) -> None:
    """`value` was found under a key that names a secret."""
    if isinstance(value, str) and len(value) >= SHORTEST:
        _values.add(value)


def hide(text: str) -> str:
    """`text` without known secrets, without `password=...` and the like, and without the password of any URL."""
    known = {os.environ.get(name, "") for name in _variables} | _values
    for secret in sorted((one for one in known if len(one) >= SHORTEST), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _IN_URL.sub(rf"\1{HIDDEN}", _OVERRIDE.sub(rf"\1{HIDDEN}", text))


def hide_all(node: Any) -> Any:
    """`hide` for every text in nested mappings and lists, the keys among them; mappings and tuples become plain."""
    if isinstance(node, str):
        return hide(node)
    if isinstance(node, Mapping):
        return {hide(key) if isinstance(key, str) else key: hide_all(value) for key, value in node.items()}
    return [hide_all(item) for item in node] if isinstance(node, list | tuple) else node
