"""CheckpointFile: a checkpoint on disk is whole or not there; which of a folder there are, under which names."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import TorchCheckpointIO

from frontpage.command.disk_full import is_full
from frontpage.command.notices import notice
from frontpage.runs.checked_file import bytes_of, has_checksum, read_checked, write_whole
from frontpage.runs.checkpoint_parts import filled, is_index, opened_parts

RESERVE = 16 * 2**20  # bytes left free on the disk for what else a run writes: metrics, events, its record
KINDS = ("step", "milestone")  # of which many are kept, each under the update that it is of
NUMBERED = re.compile(rf"(.+-)?({'|'.join(KINDS)})-(?P<update>\d{{6,}})")


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
        path, content = Path(path), bytes_of(checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = content.nbytes + RESERVE
        free = shutil.disk_usage(path.parent).free
        self.written = False
        try:
            if free < needed:
                raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {needed:,} are needed")
            write_whole(path, content, (storage_options or {}).get("before"))
            self.written = True
        except OSError as error:
            if not is_full(error):
                raise
            self.leave(path, checkpoint["global_step"], error.strerror)

    def leave(self, path: Path, update: int, why: str) -> None:
        """Say that the disk has no room for `path`, which stays as it is."""
        self.written = False
        kept = "the one before stays" if path.exists() else "there is none yet"
        notice(f"the disk is full: {path} was not written at update {update} ({why}); {kept}, and training goes on")

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
    """What a checkpoint holds, on the CPU, its parts with it; runs no code from it.

    Raises ValueError for a damaged file or part, and for one of this project that has lost its checksum.
    """
    content = read_checked(path, mmap)
    return filled(content, path.parent) if is_index(content) else content


def read_light(path: Path) -> Any:
    """The same, every part checked, with empty tensors (meta) where these have the numbers."""
    content = read_checked(path)
    if is_index(content):
        opened_parts(content, path.parent)
    return content


def update_of(path: Path) -> int | None:
    """The optimizer update that an intact checkpoint of this project is of; None for any other file."""
    try:
        step = read_light(path)["global_step"] if has_checksum(path) else None
    except Exception:  # zip, pickle and end-of-file errors of every kind, and what is no dictionary
        return None
    return step if type(step) is int and step >= 0 else None


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
    """Make `name` a copy of `source` in one step; whether the disk had room for it, and a notice where it had not.

    In another folder a checkpoint in parts becomes a single file.
    """
    partial = name.with_name(f"{name.name}.partial")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        if name.parent.absolute() != source.parent.absolute() and is_index(read_checked(source)):
            write_whole(name, bytes_of(read(source)))
            return True
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
