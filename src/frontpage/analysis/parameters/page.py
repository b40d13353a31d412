"""The page docs/parameters.md: tables of all keys between two marks; what people wrote around them stays."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby

from frontpage.analysis.parameters.config_file import ConfigFile
from frontpage.analysis.parameters.keys import Key, chosen_options, keys_of

BEGIN = "<!-- begin: written by scripts/parameters.py from configs/ and the signatures of what they build -->"
END = "<!-- end -->"
TOGETHER, NOTES = "What to change together", "Notes"  # sections that people write
HEAD = "| key | default | allowed | meaning and unit | change with |\n|---|---|---|---|---|"


def with_tables(page: str, files: Iterable[ConfigFile]) -> str:
    """The page with its tables written anew; ValueError for a key without a comment, and for one that is none."""
    files = [*files]
    keys, together, noted = keys_of(files), changed_together(page), noted_keys(page)
    silent = [key.path for key in keys if not _meaning(key)]
    if silent:
        raise ValueError(f"a comment behind the key in its config file is missing: {' '.join(silent)}")
    unknown = sorted({*together, *noted} - {key.path for key in keys})
    if unknown:
        raise ValueError(f"no config has these keys, of which the page speaks: {' '.join(unknown)}")
    chosen = chosen_options(files)
    parts = []
    for group, members in groupby(keys, lambda key: key.group):
        own = [file for file in files if file.group == group]
        rows = "\n".join(_row(key, chosen.get(group), together, noted) for key in members)
        parts.append(f"{_heading(group, own, chosen.get(group))}\n\n{HEAD}\n{rows}\n")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{chr(10).join(parts)}\n{END}{rest.partition(END)[2]}"


def changed_together(page: str) -> dict[str, list[str]]:
    """The names of the rows of the first table under TOGETHER, by the keys that stand in their second cell."""
    found: dict[str, list[str]] = {}
    for name, cell in re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|", _section(page, TOGETHER), re.MULTILINE):
        for key in re.findall(r"`([\w.]+)`", cell):
            found.setdefault(key, []).append(name)
    return found


def noted_keys(page: str) -> list[str]:
    """The keys that a paragraph under NOTES begins with."""
    return re.findall(r"^- `([\w.]+)`", _section(page, NOTES), re.MULTILINE)


def _section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _heading(group: str, files: list[ConfigFile], default: str | None) -> str:
    """The group's name, its options, and what their files say of themselves."""
    if not group:
        return "### The run"
    named = sorted(files, key=lambda file: (file.name != default, file.name))
    options = ", ".join(f"`{file.name}`{' (the default)' * (file.name == default)}" for file in named)
    about = [f"- `{file.name}`: {_safe(file.about)}" for file in named if file.about]
    return "\n".join([f"### {group}", "", f"`{group}=` is one of {options}.", *([""] if about else []), *about])


def _row(key: Key, default: str | None, together: Mapping[str, list[str]], noted: list[str]) -> str:
    by_value = _by_option(key.values, default)
    values = ", ".join(f"{names} `{value}`".strip().replace("|", r"\|") for names, value in by_value)
    more = f" ([more](#{NOTES.lower()}))" if key.path in noted else ""
    linked = ", ".join(f"[{name}](#{TOGETHER.lower().replace(' ', '-')})" for name in together.get(key.path, []))
    cells = (f"`{key.path}`", values, _said(key.allowed, default), _meaning(key, default) + more, linked)
    return f"| {' | '.join(cells)} |"


def _meaning(key: Key, default: str | None = None) -> str:
    """The comments of its options; of a value that is another key's, where to set it."""
    taken = re.search(r"\$\{(?:oc\.select:)?([\w.]+)", " ".join(key.values.values()))
    return _said(key.comments, default) or (f"taken from {taken[1]}" if taken else "")


def _said(texts: Mapping[str, str], default: str | None) -> str:
    """Each different text once, with the options that have it; an option that says nothing means the first one."""
    first, *others = _by_option({name: text for name, text in texts.items() if text}, default) or [("", "")]
    return "<br>".join([_safe(first[1]), *(f"{names}: {_safe(text)}" for names, text in others)])


def _by_option(texts: Mapping[str, str], default: str | None) -> list[tuple[str, str]]:
    """(names of options, their text), those of the default first, which needs no name."""
    names: dict[str, list[str]] = {}
    for option, text in texts.items():
        names.setdefault(text, []).append(option)
    alone = len(names) == 1 and default is None
    return [("" if default in of or alone else ", ".join(of), text) for text, of in names.items()]


def _safe(text: str) -> str:
    """What neither ends a cell nor is taken for HTML."""
    return text.replace("|", r"\|").replace("<", "&lt;")
