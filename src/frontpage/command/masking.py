"""What must not be read off a run: keys, tokens and passwords, and how they are hidden in all that is written."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "***"
SHORTEST = 6  # characters: hiding a shorter text wherever it occurs would hide ordinary words
SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|.PWD", re.IGNORECASE)  # of an .env file

# The name of a setting is a secret's by its last words, wherever its other words come from: aws_secret_access_key,
# private_key, HF_TOKEN, clientSecret. `tokens` names a count as often (max_tokens), so there the value decides.
_LAST = (
    r"(?:api|access|private|secret|auth|account|signing|encryption|master|license|ssh|client)[_-]?keys?(?:[_-]?id)?"
    r"|pass(?:word|wd|phrase|code)s?|pwd|secrets?|credentials?|bearer|(?<!per[_.-])tokens?"
)
_SECRET = re.compile(rf"(?:[\w.-]*[_.-])?(?:{_LAST})", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COUNT = re.compile(r"(?:.*[^a-z])?tokens", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"[\d_.,e+-]*\d[\d_.,e+-]*:?|null|none|true|false", re.IGNORECASE)  # a message goes on with `:`

# In a text: `name=value`, the value in quotes with quotes in it, or up to a blank (in a URL's query up to &).
_QUOTED = r"'(?:[^'\\]|\\.)*'(?=[\s,;}\])&]|$)|\"(?:[^\"\\]|\\.)*\"(?=[\s,;}\])&]|$)"
_SETTING = re.compile(
    rf"(?P<before>^|[\s'\"(\[{{,;?&~+])(?P<name>[\w.+~/@-]*?)(?P<equals>=)(?P<value>{_QUOTED}|\S*)", re.MULTILINE
)
_ENTRY = re.compile(rf"(?P<before>[{{,]\s*['\"]?)(?P<name>[\w.-]+)(?P<equals>['\"]?:\s?)(?P<value>{_QUOTED}|[^\s,}}]+)")
_MAPPING = re.compile(r"[{,]")
# A password may have / and @ in it; 8080/ is a port. A path keeps one slash of the two.
_IN_URL = re.compile(r"(\w:/+[^\s/:@]*:)(?!\d+/)\S+(?=@)")
_QUERY = re.compile(r"([?&](?:sig|signature|x-amz-\w+|key)=)[^\s&'\"]+", re.IGNORECASE)
# What services make their keys look like, whatever they are called.
_KEYS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|xox[a-z]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]+\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
_variables = {"WANDB_API_KEY", "HF_TOKEN"}
_values: set[str] = set()


def remember_variable(name: str) -> None:
    """The environment variable `name` came from an .env file: its value is a secret if its name says so."""
    if SECRET_VARIABLE.search(name):
        _variables.add(name)


def remember_value(value: object) -> None:
    """`value` was found under a key that names a secret; so are all texts and numbers in it."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            remember_value(one)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) >= SHORTEST:
        _values.add(str(value))


def remember_arguments(words: Iterable[str]) -> None:
    """Remember what the words of a command line give to keys that name secrets, as written and without its quotes."""
    for word in words:
        found = [word.partition("=")[::2], *(one.group("name", "value") for one in _ENTRY.finditer(word))]
        for value in (value for name, value in found if is_secret(name, value)):
            bare = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
            remember_value([value, bare, re.sub(r"\\(.)", r"\1", bare)])


def is_secret(name: object, value: object) -> bool:
    """Whether the value of a setting is a secret: by the name, and for `tokens`, which may be counts, by the value."""
    if value is None or value == "" or isinstance(value, bool) or not _names_secret(str(name)):
        return False
    if _COUNT.fullmatch(str(name)):
        values: Iterable[object] = value if isinstance(value, list | tuple) else [value]
        return any(isinstance(one, Mapping) or not _NUMBER.fullmatch(str(one)) for one in values)
    return True


@lru_cache(maxsize=4096)
def _names_secret(name: str) -> bool:
    return _SECRET.fullmatch(_CAMEL.sub("_", name.strip("+~").rpartition("/")[2])) is not None


def mask(node: Any) -> Any:
    """A config as plain types with `***` for each secret in it; the secrets are remembered, and hidden everywhere."""

    def masked(node: Any) -> Any:
        if isinstance(node, Mapping):
            secret = {key for key, value in node.items() if is_secret(key, value)}
            for key in secret:
                remember_value(node[key])
            return {key: HIDDEN if key in secret else masked(value) for key, value in node.items()}
        return [masked(item) for item in node] if isinstance(node, list | tuple) else node

    return hide_all(masked(node))


def hide(text: str) -> str:
    """`text` without known secrets, without `password=...` and the like, and without the password of any URL."""
    known = {os.environ.get(name, "") for name in _variables} | _values
    for secret in sorted((one for one in known if len(one) >= SHORTEST), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _KEYS.sub(HIDDEN, _QUERY.sub(rf"\1{HIDDEN}", _IN_URL.sub(rf"\1{HIDDEN}", text)))
    text = _SETTING.sub(_hidden, text) if "=" in text else text
    return _ENTRY.sub(_hidden, text) if ":" in text and _MAPPING.search(text) else text


def hide_argument(word: str) -> str:
    """One word of a command line, of which all behind a secret's `name=` is the secret, blanks and quotes included."""
    name, equals, value = word.partition("=")
    return f"{name}={HIDDEN}" if equals and is_secret(name, value) else hide(word)


def hide_all(node: Any) -> Any:
    """`hide` for every text in nested mappings and lists, the keys among them; mappings and tuples become plain."""
    if isinstance(node, str):
        return hide(node)
    if isinstance(node, Mapping):
        return {hide(key) if isinstance(key, str) else key: hide_all(value) for key, value in node.items()}
    return [hide_all(item) for item in node] if isinstance(node, list | tuple) else node


def _hidden(found: re.Match) -> str:
    before, name, equals, value = found.group("before", "name", "equals", "value")
    bare = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    if not is_secret(name, bare):
        # The value may hold settings of its own: a URL with a query, a mapping.
        inner = _SETTING.sub(_hidden, value) if "=" in value else value
        return f"{before}{name}{equals}{inner}"
    if before in ("?", "&") and "&" in value:
        return f"{before}{name}{equals}{HIDDEN}" + hide(value[value.index("&") :])
    return f"{before}{name}{equals}{HIDDEN}"
