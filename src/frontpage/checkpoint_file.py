"""CheckpointFile: a checkpoint on disk is whole or not there, carries its own checksum, and runs no code when read."""

import errno
import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from frontpage.notices import notice

MAGIC = b"frontpage blake2b"  # stands before the digest, behind the zip archive that torch.save writes
DIGEST = 32  # bytes
RESERVE = 16 * 2**20  # bytes left free on the disk for what else a run writes: metrics, events, its record
CHUNK = 2**20


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it, renames it; reads one only after its checksum.

    Where the disk has no room, a notice says so, the older file stays, and training goes on.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: dict[str, Any] | None = None
    ) -> None:
        """Replace `path` by the checkpoint in one step, or leave it as it is and say why.

        `storage_options["before"]` is where the file that was there is kept.
        """
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = content.getbuffer().nbytes + RESERVE
        free = shutil.disk_usage(path.parent).free
        try:
            if free < needed:
                raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {needed:,} are needed")
            write_whole(path, content.getbuffer(), (storage_options or {}).get("before"))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            kept = "the one before stays" if path.exists() else "there is none yet"
            notice(
                f"the disk is full: {path} was not written at update {checkpoint['global_step']} ({error.strerror});"
                f" {kept}, and training goes on"
            )

    def load_checkpoint(self, path: Path | str, *unused: Any, **options: Any) -> dict[str, Any]:
        """A checkpoint on the CPU; raises ValueError for a damaged file, and never runs code from it."""
        verify(Path(path))
        return torch.load(path, map_location="cpu", weights_only=True)


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
    folder = os.open(path.parent, os.O_RDONLY)  # the new name is on disk only with its folder
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def verify(path: Path) -> None:
    """Raise ValueError unless a file is what was written; one without a checksum, from elsewhere, is not looked at.

    A file of ours that lost its end has lost the end of its archive as well, and torch refuses it.
    """
    body = path.stat().st_size - len(MAGIC) - DIGEST
    with path.open("rb") as file:
        file.seek(max(body, 0))
        if file.read(len(MAGIC)) != MAGIC:
            return
        written, digest = file.read(), hashlib.blake2b(digest_size=DIGEST)
        file.seek(0)
        while body > 0 and (chunk := file.read(min(CHUNK, body))):
            digest.update(chunk)
            body -= len(chunk)
    if digest.digest() != written:
        raise ValueError("its checksum is wrong")
