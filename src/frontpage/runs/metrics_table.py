"""The table `metrics.csv` read back: what damage has made of a row is left out, whatever it is."""

import csv
from pathlib import Path

Row = dict[str, str]


def read_table(path: Path | str) -> tuple[list[str], list[Row]]:
    """(columns, rows): without a row that a crash has cut off, that is no CSV, or that names no update.

    Under a damaged first line there are no rows, and `step` is the only column.
    """
    rows: list[Row] = []
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictReader(line.replace("\0", "\N{REPLACEMENT CHARACTER}") for line in file)
        try:
            columns = list(table.fieldnames or [])
        except csv.Error:  # a field beyond 128 KiB
            columns = ["damaged"]
        if columns and "step" not in columns:
            return ["step"], rows
        while True:
            try:
                row = next(table)
            except StopIteration:
                return columns, rows
            except csv.Error:  # the reader goes on behind it
                continue
            if None not in row and None not in row.values() and _is_count(row["step"]):
                rows.append(row)


def step_of(row: Row) -> int:
    """What the row is numbered by: one less than the update that it is of."""
    return int(row["step"])


def _is_count(text: str) -> bool:
    """Whether a text is the digits of a number that `int` reads, which ² is not, nor one of 5,000 digits."""
    return text.isascii() and text.isdigit() and len(text) < 20
