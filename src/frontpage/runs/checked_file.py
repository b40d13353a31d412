"""A file that is whole or not there, carries its own checksum, and runs no code when it is read."""

import functools
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

MAGIC = b"frontpage blake2b"  # stands before the digest, behind the zip archive that torch.save writes
DIGEST = 32  # bytes
CHUNK = 2**20
OWN = "newest"  # what LanguageModule adds to a checkpoint, in every version of this project


def read_checked(path: Path, mmap: bool = True) -> Any:
    """What `torch.save` wrote, on the CPU; runs no code from it.

    Raises ValueError for a damaged file, and for a checkpoint of this project that has lost its checksum.
    """
    about = path.stat()
    checked = _verify_once(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    if not checked and isinstance(content, dict) and OWN in content:
        raise ValueError("it has lost its end, the checksum")
    return content


def has_checksum(path: Path) -> bool:
    """Whether a file ends as those of this project do."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(MAGIC) - DIGEST, 0))
        return file.read(len(MAGIC)) == MAGIC


def digest_of(path: Path) -> str:
    """The checksum that a file of this project carries, as hexadecimal digits."""
    with path.open("rb") as file:
        file.seek(-DIGEST, os.SEEK_END)
        return file.read().hex()


def bytes_of(content: Any) -> memoryview:
    """What `torch.save` writes of it."""
    written = io.BytesIO()
    torch.save(content, written)
    return written.getbuffer()


def write_whole(path: Path, content: memoryview, before: Path | None = None) -> None:
    """Write `content` and its checksum to `path`; a crash at any moment leaves the old file or the new one, whole.

    The old one is kept as `before`, where that is given.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.write(MAGIC + hashlib.blake2b(content, digest_size=DIGEST).digest())
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            os.replace(path, before)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk: a new one is there only with its folder."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def verify(path: Path) -> bool:
    """Raise ValueError unless a file is what was written; False for one without a checksum, which nothing tells of."""
    body = path.stat().st_size - len(MAGIC) - DIGEST
    if not has_checksum(path):
        return False
    with path.open("rb") as file:
        digest = hashlib.blake2b(digest_size=DIGEST)
        while body > 0 and (chunk := file.read(min(CHUNK, body))):
            digest.update(chunk)
            body -= len(chunk)
        file.seek(len(MAGIC), os.SEEK_CUR)
        if digest.digest() != file.read():
            raise ValueError("its checksum is wrong")
    return True


@functools.lru_cache(maxsize=64)
def _verify_once(path: Path, *state: int) -> bool:
    """`verify`, once for as long as a file stays as it is: a start asks for its checkpoint in several places."""
    return verify(path)
