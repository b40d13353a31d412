"""CheckpointFile: a checkpoint on disk is whole or not there, carries its own checksum, and runs no code when read."""

import errno
import functools
import hashlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from frontpage.command.disk_full import is_full
from frontpage.command.notices import notice

MAGIC = b"frontpage blake2b"  # stands before the digest, behind the zip archive that torch.save writes
DIGEST = 32  # bytes
RESERVE = 16 * 2**20  # bytes left free on the disk for what else a run writes: metrics, events, its record
CHUNK = 2**20
KINDS = ("step", "milestone")  # of which many are kept, each under the update that it is of
NUMBERED = re.compile(rf"(.+-)?({'|'.join(KINDS)})-(?P<update>\d{{6,}})")
OWN = "newest"  # what LanguageModule adds to a checkpoint, in every version of this project


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it, renames it; reads one only after its checksum.

    Where the disk has no room, a notice says so, the older file stays, and training goes on; `written` tells of the
    newest file whether it lies on the disk.
    """

    written = False

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
        self.written = False
        try:
            if free < needed:
                raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {needed:,} are needed")
            write_whole(path, content.getbuffer(), (storage_options or {}).get("before"))
            self.written = True
        except OSError as error:
            if not is_full(error):
                raise
            kept = "the one before stays" if path.exists() else "there is none yet"
            notice(
                f"the disk is full: {path} was not written at update {checkpoint['global_step']} ({error.strerror});"
                f" {kept}, and training goes on"
            )

    def load_checkpoint(self, path: Path | str, *unused: Any, **options: Any) -> dict[str, Any]:
        """A checkpoint on the CPU; raises ValueError for a damaged file, and never runs code from it."""
        return read(Path(path), mmap=False)  # training goes on with these tensors, whatever becomes of the file


def save(trainer: L.Trainer, path: Path, before: Path | None = None) -> bool:
    """Write the run as it stands to `path`, keeping the file that was there as `before`; whether it lies on the disk.

    Every process of a run calls it, and every one hears the same. Callbacks that have an `on_saved(trainer, seconds)`
    hear how long it took.
    """
    started = time.perf_counter()
    trainer.save_checkpoint(path, storage_options={"before": before})
    written = trainer.strategy.broadcast(trainer.strategy.checkpoint_io.written)
    for callback in trainer.callbacks:
        if hasattr(callback, "on_saved"):
            callback.on_saved(trainer, time.perf_counter() - started)
    return written


def read(path: Path, mmap: bool = True) -> Any:
    """What `torch.save` wrote, on the CPU; runs no code from it.

    Raises ValueError for a damaged file, and for one of this project that has lost its checksum.
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


def update_of(path: Path) -> int | None:
    """The optimizer update that an intact checkpoint of this project is of; None for any other file."""
    try:
        step = read(path)["global_step"] if has_checksum(path) else None
    except Exception:  # zip, pickle and end-of-file errors of every kind, and what is no dictionary
        return None
    return step if type(step) is int and step >= 0 else None


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


def named_update(path: Path) -> int | None:
    """The update in the name of a rolling checkpoint or a milestone; None for any other name."""
    found = NUMBERED.fullmatch(path.stem)
    return int(found["update"]) if found else None


def numbered(last: Path, kind: str, update: int) -> Path:
    """The file beside the checkpoint `last` that keeps it as it was at `update`: `step` (rolling) or `milestone`.

    Runs may share a folder, under other names than `last`.
    """
    prefix = "" if last.stem == "last" else f"{last.stem}-"
    return last.with_name(f"{prefix}{kind}-{update:06d}{last.suffix}")


def numbered_beside(last: Path, kinds: Iterable[str] = KINDS) -> list[Path]:
    """Those of the checkpoint `last` that are there, the oldest first."""
    there = [path for path in last.parent.glob("*") if named_update(path) is not None]
    own = [path for path in there if path in [numbered(last, kind, named_update(path)) for kind in kinds]]
    return sorted(own, key=named_update)


def linked(source: Path, name: Path) -> bool:
    """Make `name` another name of `source` in one step, a copy where links are not possible; whether it is there."""
    if name.exists() and name.samefile(source):
        return True
    partial = name.with_name(f"{name.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        return copied(source, name)
    os.replace(partial, name)
    return True


def copied(source: Path, name: Path) -> bool:
    """Make `name` a copy of `source` in one step; whether the disk had room for it, and a notice where it had not."""
    partial = name.with_name(f"{name.name}.partial")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, name)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if not is_full(error):
            raise
        notice(f"the disk is full: {name} was not written ({error.strerror}); what was there before stays")
        return False
    return True


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
