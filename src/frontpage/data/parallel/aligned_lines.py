"""A tab-separated file of aligned lines: a column a translation, with or without a first line that names them.

Columns called book, chapter and verse, or id, say where a line stands; quotation marks are text as all else.
`<name>.links.tsv` beside `<name>.tsv` relates lines: from_line, to_line and, where they have any, votes.
"""

import re
from pathlib import Path

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.lines import lines_of, without_end
from frontpage.data.parallel.checks import KEY
from frontpage.data.parallel.collection import Collection, Place, References
from frontpage.data.parallel.line_places import PLACES, LinePlaces
from frontpage.data.parallel.text import ParallelText

NAMES = "a letter and up to 15 letters, digits, - and _"
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,15}")
LINKS = ".links.tsv"
Row = tuple[int, list[str]]  # number of the line from 1, cells


def read_aligned_lines(path: Path, lines_per_chapter: int, chapters_per_book: int | None) -> ParallelText:
    """The corpus of the file; the two numbers serve where no column says where a chapter or a book ends.

    Without the second five chapters make a book, or fewer, so that there are ten books at least.
    """
    if path.suffix.lower() != ".tsv":
        raise BadValue(KEY, path, "aligned lines are read from a .tsv: cells separated by tabs")
    rows = _rows(path)
    header = [cell.lower() if cell.lower() in PLACES else cell for cell in rows[0][1]]
    wrong = [name for name in header if not IDENTIFIER.fullmatch(name) or header.count(name) > 1]
    named = not wrong
    if wrong and {*PLACES} & {*header}:
        allowed = f"line 1 names places beside {wrong[0]!r}, but a name stands once and is {NAMES}"
        raise BadValue(KEY, path, f"{allowed}; a line of text needs names above it")
    if named:
        rows = rows[1:]
    else:
        header = [f"text_{number}" for number in range(1, len(header) + 1)]
    translations = [name for name in header if name not in PLACES]
    if not translations:
        raise BadValue(KEY, path, f"its columns are {', '.join(header)}: none holds text")
    columns = {name: [cells[column] for _, cells in rows] for column, name in enumerate(header)}
    numbers = [number for number, _ in rows]
    placing = LinePlaces(path, numbers, lines_per_chapter, chapters_per_book)
    places, how = placing.of({name: columns[name] for name in PLACES if name in columns})
    first = "line 1 names the columns" if named else "line 1 is no header, being no distinct short words"
    notice(f"{KEY}={path}: {first}; translations: {', '.join(translations)}; {how}")
    collection = Collection(path)
    for name in translations:
        for place, text in zip(places, columns[name], strict=True):
            collection.add(name, place, text)
    at_line = dict(zip(numbers, places, strict=True))
    return collection.finish(str(path), lambda name: name.partition("_")[0] if named else name, _links(path, at_line))


def _rows(path: Path) -> list[Row]:
    """The lines that are not blank, in cells; all must have as many as the first."""
    rows: list[Row] = []
    blank = 0
    for number, line in enumerate(lines_of(path, KEY), start=1):
        cells = without_end(line).split("\t")
        if not any(cell.strip() for cell in cells):
            blank += 1
        elif rows and len(cells) != len(rows[0][1]):
            expected = f"{len(rows[0][1])} as line {rows[0][0]} has"
            raise BadValue(KEY, path, f"line {number} has {len(cells)} cells, not {expected}; tabs separate them")
        else:
            rows.append((number, cells if rows else [cell.strip() for cell in cells]))
    if not rows:
        raise BadValue(KEY, path, "the file holds no text")
    if blank:
        notice(f"{KEY}={path}: blank lines, which are passed over: {blank}")
    return rows


def _links(path: Path, at_line: dict[int, Place]) -> References:
    """References of the file beside it, if there is one; its numbers count all lines of the text's file from 1."""
    beside = path.with_name(path.stem + LINKS)
    if not beside.is_file():
        return []
    references = []
    nowhere: Place = ("", -1, -1)
    for number, line in enumerate(lines_of(beside, KEY), start=1):
        cells = [cell.strip() for cell in without_end(line).split("\t")]
        if number == 1 and cells[:2] == ["from_line", "to_line"] and cells[2:] in ([], ["votes"]):
            continue
        if cells == [""]:
            continue
        try:
            start, end, votes = int(cells[0]), int(cells[1]), float(cells[2]) if len(cells) == 3 else 1.0
        except (ValueError, IndexError):
            start, votes = 0, 0.0
        if start < 1 or end < 1 or len(cells) > 3:
            needed = "from_line, to_line and maybe votes are needed: numbers of lines from 1"
            raise BadValue(KEY, path, f"line {number} of {beside.name} is {line.strip()[:40]!r}; {needed}")
        references.append((at_line.get(start, nowhere), at_line.get(end, nowhere), votes))
    notice(f"{KEY}={path}: {len(references)} references from {beside.name}, whose numbers count every line of the text")
    return references
