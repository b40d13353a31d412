"""Pages from the templates beside them, each one file without a network, in which text stays text."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from frontpage.command.masking import hide, hide_all
from frontpage.command.terminal import printable_lines


def rendered(template: str, **content: Any) -> str:
    """The page of `template`, a file below `pages/`, with `content` as its variables."""
    return templates().get_template(template).render(content)


@cache
def templates() -> Environment:
    """Jinja as every page has it: what no template escapes is escaped, and a variable that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("frontpage.analysis.pages", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_function"] = _json
    environment.globals["file"] = _file
    return environment


def _text(value: object) -> object:
    """What an expression shows: secrets are hidden, control characters visible; markup of macros stays as it is."""
    return value if isinstance(value, Markup) else printable_lines(hide(str(value)))


def _json(content: Mapping[str, Any] | Sequence[Any], **settings: Any) -> str:
    """The text that the filter `tojson` makes safe for a script; Jinja's settings would sort the keys."""
    return json.dumps(hide_all(content), allow_nan=False)


def _file(name: str) -> Markup:
    """Style or script as it lies below `pages/`: braces in it are no template's."""
    return Markup(templates().loader.get_source(templates(), name)[0])
