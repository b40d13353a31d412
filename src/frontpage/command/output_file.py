"""OutputFile: where a script writes a result. It is checked before anything is computed, and written whole or not."""

import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontpage.command.errors import BadValue

Recognise = Callable[[bytes], bool]  # whether a file's content is what the same command has written before
OPEN_ALREADY = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")  # where /dev/stdout leads to
LARGEST = 2**28  # bytes of a result; what is larger was not written by a script
# What a run keeps beside its folder of checkpoints.
KEPT_BY_RUNS = (
    "run.json run.lock config.yaml tokenizer.json metrics.csv events.jsonl samples.txt training_titles.npy"
    " validation_scores.npz"
).split()


@dataclass(frozen=True)
class OutputFile:
    """The file that `option` names, and how an earlier result of the same command is recognised by its content.

    A link is followed. A terminal, a device such as /dev/null or a pipe is written to, never replaced; a file is
    replaced in one step.
    """

    option: str
    path: Path
    ours: Recognise

    def check(self, overwrite: bool) -> None:
        """Raise a UserError where nothing can be written, or what must not be lost would be, unless `overwrite`."""
        try:
            if self.is_open():
                _pour(self.path, b"")
            else:
                self._check_file(self.target(), overwrite)
        except OSError as error:
            raise BadValue(self.option, self.path, f"cannot be written ({error.strerror})") from error

    def write(self, content: str | bytes) -> None:
        """Write everything or, with a UserError, nothing: an earlier file stays whole until the new one is on disk."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        if not self.ours(data):  # the next call would refuse to replace it
            raise RuntimeError(f"{self.option}: what is written would not be recognised as this command's")
        try:
            if self.is_open():
                _pour(self.path, data)
            else:
                replace_file(self.target(), data)
        except OSError as error:
            raise BadValue(self.option, self.path, f"cannot be written ({error.strerror})") from error

    def is_open(self) -> bool:
        """Whether the path is a device, a pipe or a file that is open already: written to, not replaced."""
        if _descriptor(self.path) is not None:
            return True
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return False
        return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)

    def target(self) -> Path:
        """The file behind the path, links followed; UserError where they go round in circles."""
        try:
            return self.path.resolve(strict=False)
        except (OSError, RuntimeError) as error:
            raise BadValue(self.option, self.path, "a link that leads to itself") from error

    def _check_file(self, target: Path, overwrite: bool) -> None:
        usable = target.parent.is_dir() and os.access(target.parent, os.W_OK)
        usable = usable and (target.is_file() or not target.exists())
        if not usable:
            raise BadValue(self.option, self.path, "a file in an existing folder that can be written")
        if overwrite:
            return
        if _of_a_run(target):
            raise BadValue(self.option, self.path, "a run's own file; --overwrite replaces it all the same")
        size = target.stat().st_size if target.exists() else 0
        if size and not (size <= LARGEST and self.ours(target.read_bytes())):
            allowed = "exists, and this command has not written it; another name keeps it, --overwrite replaces it"
            raise BadValue(self.option, self.path, allowed)


def check_outputs(outputs: Sequence[OutputFile], overwrite: bool) -> None:
    """Raise a UserError where one of the files must not be written, or two are the same."""
    for place, output in enumerate(outputs):
        output.check(overwrite)
        for other in outputs[:place]:
            allowed = f"the same file as {other.option}; each needs its own"
            if output.target() == other.target() and not output.is_open():
                raise BadValue(output.option, output.path, allowed)


def json_with(*keys: str) -> Recognise:
    """A JSON object that has all of `keys`, or a list, not empty, of such objects."""

    def ours(content: bytes) -> bool:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            return False
        rows = found if isinstance(found, list) else [found]
        return bool(rows) and all(isinstance(row, dict) and row.keys() >= {*keys} for row in rows)

    return ours


def beginning_with(text: str) -> Recognise:
    """A table whose first columns are these."""
    return lambda content: content.startswith(text.encode())


def holding(mark: str) -> Recognise:
    """A page or a picture that names its maker."""
    return lambda content: mark.encode() in content


def check_kind(output: OutputFile) -> None:
    """Raise a UserError unless the name asks for a picture that `picture` can make."""
    known = output.path.suffix.lower() in (".png", ".svg", ".pdf")
    if not known:
        raise BadValue(output.option, output.path, "a name that ends in .png, .svg or .pdf")


def picture(figure: Any, path: Path, mark: str) -> bytes:
    """A figure of matplotlib's as the .png, .svg or .pdf that the name asks for, with `mark` as its maker."""
    kind, content = path.suffix.lower().removeprefix("."), io.BytesIO()
    metadata = {"Software" if kind == "png" else "Creator": mark}
    figure.savefig(content, format=kind, dpi=150, metadata=metadata)
    return content.getvalue()


def _of_a_run(target: Path) -> bool:
    """Whether a run keeps a file of this name in this place, or writes its checkpoints there."""
    own = target.parent if target.name in KEPT_BY_RUNS else None
    for folder in (own, *(parent.parent for parent in target.parents if parent.name in ("checkpoints", ".hydra"))):
        if folder is not None and any((folder / name).is_file() for name in ("run.json", "run.lock", "config.yaml")):
            return True
    return False


def _pour(path: Path, data: bytes) -> None:
    """Write to what is there; nothing is made and nothing is cut off. A pipe is waited for until someone reads it."""
    number = _descriptor(path)
    if number is None and not data:  # a check: to open a pipe would wait, and its reader would see its end
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    sys.stdout.flush()  # what was printed before stands before
    opened = os.open(path, os.O_WRONLY | os.O_APPEND) if number is None else os.dup(number)
    with open(opened, "wb", buffering=0) as file:
        file.write(data[:0])  # fails for what was opened to be read
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout or /dev/fd/63 stands for; else None."""
    for _ in range(40):  # links; as many as Linux follows
        found = OPEN_ALREADY.fullmatch(os.path.abspath(path))
        if found:
            return int(found[1])
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def replace_file(target: Path, data: bytes) -> None:
    """Put a new file in the place of `target`, with its permissions where there is one; what fails leaves no trace."""
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a full disk may be known only now
        if target.exists():
            shutil.copymode(target, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
