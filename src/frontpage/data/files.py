"""Titles from a file: Parquet, CSV, JSON or plain text, with an error that names the row at fault."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.notices import notice
from frontpage.data.csv_file import read_csv
from frontpage.data.lines import NUL, lines_of, without_end

SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell it, UTF-8 cannot
AT_ONCE = 10_000  # rows of Parquet
BUFFER = 2**20  # bytes
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def read_titles(path: str | Path, column: str = "title", key: str = "data.path") -> list[str]:
    """Every row of `column` of the file, in the file's order and unaltered; `key` is named in errors (UserError)."""
    return list(titles_of(path, column, key))


def titles_of(path: str | Path, column: str = "title", key: str = "data.path") -> Iterator[str]:
    """The rows of `read_titles` one after another, none of them kept; only an array in JSON is read at once."""
    path, values = file_of(path, key), values_of(path, column, key)
    number, written = 0, False
    for number, title in enumerate(values, start=1):
        if not isinstance(title, str):
            shown = "nothing (null)" if title is None else repr(title)[:60]
            raise BadValue(key, path, f"row {number} of column '{column}' holds {shown}, not text")
        if "\0" in title:
            raise BadValue(key, path, f"row {number} of column '{column}' {NUL}")
        written = written or bool(title.strip())
        yield title
    if not written:
        raise BadValue(
            key, path, f"all {number} titles of the file are blank" if number else "the file holds no titles"
        )


def read_column(
    path: str | Path, column: str, key: str = "data.path", option: str = "data.column"
) -> tuple[Path, list[Any]]:
    """(the file, every value of its `column`, whatever its type); `option` is what names the column in errors."""
    return file_of(path, key), list(values_of(path, column, key, option))


def file_of(path: str | Path, key: str = "data.path") -> Path:
    """The file that is there and may hold titles; UserError, which names `key`, for any other."""
    if SURROGATE.search(str(path)):
        raise BadValue(key, path, "the name holds bytes that are no UTF-8; rename the file")
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):
        raise BadValue(key, path, "this is the address of a page; download the file and give its path")
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise BadValue(key, path, "no such user") from error
    with _read_errors(path, key):
        if not path.exists():
            raise BadValue(key, path, "no such file")
        if not path.is_file():
            raise BadValue(key, path, "this is not a file")
        if path.suffix.lower() in COMPRESSED:
            raise BadValue(key, path, "it is compressed; unpack it first")
        if path.suffix.lower() not in READERS:
            raise BadValue(key, path, f"a title file ends in one of {' '.join(READERS)}")
        if path.stat().st_size == 0:
            raise BadValue(key, path, "the file is empty")
    return path


def values_of(path: str | Path, column: str, key: str = "data.path", option: str = "data.column") -> Iterator[Any]:
    """Every value of a file's `column`, whatever its type, one after another; `option` names the column in errors."""
    path = file_of(path, key)
    with _read_errors(path, key):
        yield from READERS[path.suffix.lower()](path, column, key, option)


@contextmanager
def _read_errors(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadValue(key, path, f"cannot be read ({error.strerror or _first_line(error)})") from error


def _parquet(path: Path, column: str, key: str, option: str) -> Iterator[Any]:
    import pyarrow as pa  # not before it is used: a run on other files starts without it
    import pyarrow.parquet

    try:
        with pa.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            _check_column(column, file.schema_arrow.names, path, key, option)
            for batch in file.iter_batches(AT_ONCE, columns=[column]):
                yield from batch.column(0).to_pylist()
    except pa.ArrowException as error:
        raise BadValue(key, path, f"not a readable Parquet file ({_first_line(error)})") from error
    except UnicodeDecodeError as error:
        raise BadValue(key, path, f"invalid UTF-8 in column '{column}'") from error
    except (ValueError, OverflowError) as error:  # a time that Python has no object for
        held = f"holds a value out of range ({_first_line(error)})"
        raise UserError(f"{option}={column}: {key}={path} {held}") from error


def _json(path: Path, column: str, key: str, option: str) -> Iterator[Any]:
    """JSON lines, or one array of objects."""
    for where, row in _json_rows(path, column, key, option):
        if not isinstance(row, dict):
            raise BadValue(key, path, f"{where} is not a JSON object with a '{column}'")
        _check_column(column, row, path, key, option, f"{where}: ")
        if isinstance(row[column], str) and SURROGATE.search(row[column]):
            raise BadValue(key, path, f"{where} is not valid Unicode: it holds half of a surrogate pair")
        yield row[column]


def _json_rows(path: Path, column: str, key: str, option: str) -> Iterator[tuple[str, Any]]:
    """(where it stands, what it holds) of each row."""

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and sum(name == column for name, _ in pairs) > 1:
            raise UserError(f"{option}={column}: {key}={path} has {where} with two values of this name")
        return found

    where, number, lines = "the array", 0, enumerate(lines_of(path, key), start=1)
    try:
        for number, line in lines:
            if line.lstrip().startswith("[") and where == "the array":
                text = "\n" * (number - 1) + line + "".join(line for _, line in lines)
                for row, value in enumerate(json.loads(text, object_pairs_hook=as_object), start=1):
                    yield f"row {row} of the array", value
            elif line.strip():
                where = f"line {number}"
                yield where, json.loads(line, object_pairs_hook=as_object)
    except (ValueError, RecursionError) as error:
        number = getattr(error, "lineno", number) if where == "the array" else number
        raise BadValue(key, path, f"line {number} is not JSON ({getattr(error, 'msg', 'too deep')})") from error


def _text(path: Path, column: str, key: str, option: str) -> Iterator[str]:
    if column != "title":
        notice(f"{option}={column}: a text file has no columns; each line of {key}={path} is a title")
    for number, line in enumerate(lines_of(path, key), start=1):
        title = without_end(line)
        if "\r" in title:
            raise BadValue(key, path, f"line {number} holds a carriage return in its middle, and others end with LF")
        yield title


def _check_column(column: str, columns: Iterable[str], path: Path, key: str, option: str, where: str = "") -> None:
    columns = list(columns)
    if column not in columns:
        listed = ", ".join(columns[:12])
        raise UserError(
            f"{option}={column}: {where}{key}={path} has no such column{nearest(column, columns)}; it has: {listed}"
        )
    if columns.count(column) > 1:
        raise UserError(f"{option}={column}: {key}={path} has {columns.count(column)} columns of this name")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160]


READERS: dict[str, Callable[[Path, str, str, str], Iterator[Any]]] = {
    ".parquet": _parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".txt": _text,
}
