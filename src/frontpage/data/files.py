"""Titles from a file: Parquet, CSV, JSON lines or plain text, with an error that names the row at fault."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from frontpage.errors import UserError, bad_value, nearest

SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell it, UTF-8 cannot


def read_titles(path: str | Path, column: str = "title", key: str = "data.path") -> list[str]:
    """Every row of `column` of the file, in the file's order and unaltered; `key` is named in errors (UserError)."""
    path = Path(path)
    readers: dict[str, Callable[[Path, str, str], list[str]]] = {
        ".parquet": _parquet,
        ".csv": _csv,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json_lines,
        ".txt": _text,
    }
    try:
        if not path.exists():
            raise bad_value(key, path, "no such file")
        if not path.is_file():
            raise bad_value(key, path, "this is not a file")
        if path.suffix.lower() not in readers:
            raise bad_value(key, path, f"a title file ends in one of {' '.join(readers)}")
        if path.stat().st_size == 0:
            raise bad_value(key, path, "the file is empty")
        titles = readers[path.suffix.lower()](path, column, key)
    except OSError as error:
        raise bad_value(key, path, f"cannot be read ({error.strerror or _first_line(error)})") from error
    if not any(title.strip() for title in titles):
        problem = f"all {len(titles)} titles of the file are blank" if titles else "the file holds no titles"
        raise bad_value(key, path, problem)
    return titles


def _parquet(path: Path, column: str, key: str) -> list[str]:
    try:
        schema = pa.parquet.read_schema(path)
        _check_column(column, schema.names, path, key)
        values = pa.parquet.read_table(path, columns=[column]).column(column).to_pylist()
    except pa.ArrowException as error:
        raise bad_value(key, path, f"not a readable Parquet file ({_first_line(error)})") from error
    except UnicodeDecodeError as error:
        raise bad_value(key, path, f"invalid UTF-8 in column '{column}'") from error
    return _texts(values, path, column, key)


def _csv(path: Path, column: str, key: str) -> list[str]:
    try:
        parsing = pa.csv.ParseOptions(newlines_in_values=True)
        with pa.csv.open_csv(path, parse_options=parsing) as reader:
            _check_column(column, reader.schema.names, path, key)
        conversion = pa.csv.ConvertOptions(
            include_columns=[column], column_types={column: pa.string()}, strings_can_be_null=False
        )
        table = pa.csv.read_csv(path, parse_options=parsing, convert_options=conversion)
    except pa.ArrowException as error:
        reason = "invalid UTF-8" if "UTF8" in str(error) else f"not a readable CSV file ({_first_line(error)})"
        raise bad_value(key, path, reason) from error
    except UnicodeDecodeError as error:
        raise bad_value(key, path, "invalid UTF-8 in the header") from error
    return _texts(table.column(column).to_pylist(), path, column, key)


def _json_lines(path: Path, column: str, key: str) -> list[str]:
    values = []
    for number, line in enumerate(_text(path, column, key), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise bad_value(key, path, f"line {number} is not JSON ({getattr(error, 'msg', 'too deep')})") from error
        if not isinstance(row, dict):
            raise bad_value(key, path, f"line {number} is not a JSON object with a '{column}'")
        _check_column(column, row, path, key, f"line {number}: ")
        if isinstance(row[column], str) and SURROGATE.search(row[column]):
            raise bad_value(key, path, f"line {number} is not valid Unicode: it holds half of a surrogate pair")
        values.append(row[column])
    return _texts(values, path, column, key)


def _text(path: Path, column: str, key: str) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise bad_value(key, path, f"invalid UTF-8 in line {line}") from error
    return lines[:-1] if lines[-1] == "" else lines


def _check_column(column: str, columns: Iterable[str], path: Path, key: str, where: str = "") -> None:
    columns = list(columns)
    if column not in columns:
        listed = ", ".join(columns[:12])
        raise UserError(
            f"data.column={column}: {where}{key}={path} has no such column{nearest(column, columns)}; it has: {listed}"
        )


def _texts(values: list[object], path: Path, column: str, key: str) -> list[str]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            shown = "nothing (null)" if value is None else repr(value)[:60]
            raise bad_value(key, path, f"row {number} of column '{column}' holds {shown}, not text")
    return values  # type: ignore[return-value]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160]
