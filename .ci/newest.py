"""Takes the upper bounds out of pyproject.toml, but pytest's, so that pip tries the newest: nightly.yml runs it.

It changes the file in place, in a checkout that is thrown away: python .ci/newest.py && pip install -e '.[dev]'
"""

import re
from pathlib import Path

KEPT = "pytest"  # its bound is for pytest-xdist, whose newest there is: with 9.2 a test of groups is known to fail
BOUND = re.compile(r"\s*,?\s*<=?\s*[\w.]+")  # `,<2` and what follows a name at once, `<2`
REQUIREMENT = re.compile(r'"([A-Za-z][\w.-]*(?:\[[\w,-]+\])?)((?:[<>=!~]=?[\w.]+,?)+)"')


def unbounded(text: str) -> str:
    """The text of a pyproject.toml without upper bounds; what was pinned exactly may be newer, release candidates too.

    A range that leaves out single versions (`!=`) keeps them.
    """
    python = re.compile(r'^(requires-python = )"([^"]*)"', re.MULTILINE)
    text = python.sub(lambda found: f'{found[1]}"{BOUND.sub("", found[2])}"', text)

    def newest(found: re.Match[str]) -> str:
        return found[0] if found[1] == KEPT else f'"{found[1]}{BOUND.sub("", found[2]).replace("==", ">=")}"'

    return REQUIREMENT.sub(newest, text)


if __name__ == "__main__":
    path = Path("pyproject.toml")
    path.write_text(unbounded(path.read_text(encoding="utf-8")), encoding="utf-8")
