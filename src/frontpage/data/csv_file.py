"""A column of a CSV file, read strictly: rows that quotation marks would swallow or alter are refused by line.

Python's `csv` in its strict mode reads; each row with a quotation mark is compared with RFC 4180 beside it, because a
mark within a cell that is not quoted is taken as it stands, and makes every mark that begins a cell doubtful.
"""

import contextlib
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.notices import notice
from frontpage.data.lines import lines_of, without_end

SEPARATORS = (",", ";", "\t", "|")
MOST_LINES = 50  # of one cell: a longer one is rows between two stray quotation marks
MOST_OPEN = 10_000  # lines behind a quotation mark that are read in search of its end
RULE = 'a cell that holds a quotation mark is quoted, and the mark doubled ("")'


def read_csv(path: Path, column: str, key: str, option: str = "data.column") -> Iterator[str]:
    """Every cell of `column`; `key` and `option`, which names the column, are told in errors (UserError).

    The separator is the one of SEPARATORS that makes `column` a name of the first line, or what Excel's `sep=;` says.
    """
    with _cells_of_any_size():
        said = _said_separator(path, key)
        headers = _headers(path, key, said)
        fitting = [one for one in headers if column in headers[one]]
        if not fitting:
            header = max(headers.values(), key=len, default=[])
            listed = ", ".join(header[:12])
            raise UserError(
                f"{option}={column}: {key}={path} has no such column{nearest(column, header)}; its first line,"
                f" which names the columns, has: {listed}"
            )
        separator = fitting[0]
        header = headers[separator]
        if header.count(column) > 1:
            raise UserError(f"{option}={column}: {key}={path} has {header.count(column)} columns of this name")
        place = header.index(column)
        yield from (row[place] for row in _rows(path, key, separator, len(header), bool(said)))


def _rows(path: Path, key: str, separator: str, width: int, skip: bool) -> Iterator[list[str]]:
    """The rows below the header, blank lines left out."""
    cell = rf'(?:"[^"]*(?:""[^"]*)*"|[^"{re.escape(separator)}\r\n]*)'
    well_quoted = re.compile(rf"{cell}(?:{re.escape(separator)}{cell})*(?:\r?\n|\r)?")
    bare, long, several = 0, (0, 0), 0  # lines; how many rows take several
    for index, (first, last, raw, row) in enumerate(_records(path, key, separator, skip)):
        if len(row) != width:
            cells, rule = f"{len(row)} cells, the first line {width}", f"a cell that holds {separator!r} is quoted"
            raise BadValue(key, path, f"not a readable CSV file: line {first} has {cells}; {rule}")
        if last > first:
            several, long = several + 1, long if long[0] else (first, last)
        if last - first >= MOST_LINES:
            raise BadValue(key, path, f"the quotation mark opened in line {first} is closed in line {last}; {RULE}")
        if '"' in raw and not well_quoted.fullmatch(raw):
            if any(one[:1].isspace() and one.lstrip().startswith('"') for one in row):
                raise BadValue(key, path, f"line {first} has blanks before a quotation mark; {RULE}")
            bare = bare or first
        if bare and long[0]:
            between = f"line {bare} holds a quotation mark that is not quoted, so that the cell that is quoted from"
            raise BadValue(key, path, f"{between} line {long[0]} to line {long[1]} may be several; {RULE}")
        if index > 0:  # below the header
            yield row
    if several:
        notice(f"{key}={path}: rows of several lines: {several}, the first from line {long[0]} to line {long[1]}")


def _records(path: Path, key: str, separator: str, skip: bool) -> Iterator[tuple[int, int, str, list[str]]]:
    """(first line, last line, text, cells) of each row, the header among them; blank lines are left out."""
    raw: list[str] = []

    def recorded() -> Iterator[str]:
        lines = lines_of(path, key)
        if skip:
            next(lines)
        for line in lines:
            raw.append(line)
            if len(raw) > MOST_OPEN:
                unclosed = f"the quotation mark opened in line {first} is not closed within {MOST_OPEN:,} lines"
                raise BadValue(key, path, f"{unclosed}; {RULE}")
            yield line

    first, reader = 1 + skip, csv.reader(recorded(), delimiter=separator, strict=True)
    try:
        for row in reader:
            last = reader.line_num + skip
            if row:
                yield first, last, raw[0] if len(raw) == 1 else "".join(raw), row
            first = last + 1
            raw.clear()
    except csv.Error as error:
        raise BadValue(key, path, _reason(str(error), first, reader.line_num + skip, raw)) from error


def _reason(error: str, first: int, last: int, raw: list[str]) -> str:
    """What is wrong with the row of lines `first` to `last`."""
    backslashes = any('\\"' in line for line in raw)
    rule = 'inside quotes a quotation mark is doubled (""), not written \\"' if backslashes else RULE
    if "end of data" in error:
        return f"the quotation mark opened in line {first} is never closed; {rule}"
    if "expected after" in error:
        where = f"line {first}" if first == last else f"line {first} and closed in line {last}"
        return f"text follows the quoted cell that is opened in {where}; {rule}"
    if "new-line" in error:
        return f"line {first} holds a carriage return in a cell without quotes"
    return f"not a readable CSV file: line {first}: {error}"


def _headers(path: Path, key: str, said: str) -> dict[str, list[str]]:
    """The first row as each separator reads it; the first one's UserError where none can."""
    headers, errors = {}, []
    for separator in said or SEPARATORS:
        try:
            headers[separator] = next((row for *_, row in _records(path, key, separator, bool(said))), [])
        except UserError as error:
            errors.append(error)
    if not headers:
        raise errors[0]
    return headers


def _said_separator(path: Path, key: str) -> str:
    """What the first line says as Excel writes it, `sep=;`; nothing without such a line."""
    found = re.fullmatch(r'"?sep=(.)"?', without_end(next(lines_of(path, key), "")), re.IGNORECASE)
    return found[1] if found else ""


@contextlib.contextmanager
def _cells_of_any_size() -> Iterator[None]:
    """Lift the limit of 131,072 characters, which is the whole process's."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
