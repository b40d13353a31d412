"""The lines of a text file, each with its end, in UTF-8; whatever would be read as other text is refused by line."""

from collections.abc import Iterator
from pathlib import Path

from frontpage.command.errors import BadValue

# How files begin that are no text, whatever they are called.
SIGNATURES = {
    b"\xff\xfe": "it is UTF-16; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16; save it as UTF-8",
    b"\x1f\x8b": "it is compressed by gzip; unpack it first",
    b"BZh": "it is compressed by bzip2; unpack it first",
    b"\xfd7zXZ": "it is compressed by xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "it is compressed by Zstandard; unpack it first",
    b"PK\x03\x04": "it is a ZIP archive or a workbook; unpack it, or save it as CSV",
    b"PAR1": "it is a Parquet file; call it .parquet",
}
NUL = "holds a NUL character, as UTF-16 and damaged files do; save the file as UTF-8"


def lines_of(path: Path, key: str) -> Iterator[str]:
    """Each line with its end, a mark at the file's beginning left out; lines end with LF or CR LF, or all with CR.

    Raises UserError, which names `key`, for compressed files, other encodings and NUL characters.
    """
    with path.open("rb") as file:
        first = file.readline()  # the whole file where no line ends with LF
    for signature, what in SIGNATURES.items():
        if first.startswith(signature):
            raise BadValue(key, path, what)
    if b"\0" in first:
        raise BadValue(key, path, f"line 1 {NUL}")
    try:
        with path.open(encoding="utf-8-sig", newline="\n" if first.endswith(b"\n") else "\r") as text:
            for number, line in enumerate(text, start=1):
                if "\0" in line:
                    raise BadValue(key, path, f"line {number} {NUL}")
                yield line
    except UnicodeDecodeError as error:
        raise BadValue(key, path, f"invalid UTF-8 in line {_broken_line(path)}") from error


def without_end(line: str) -> str:
    """The line without LF, CR LF or CR at its end."""
    return line[:-1].removesuffix("\r") if line.endswith("\n") else line.removesuffix("\r")


def _broken_line(path: Path) -> int:
    """The first line that is no UTF-8; an error while decoding blocks of a file does not tell."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1
