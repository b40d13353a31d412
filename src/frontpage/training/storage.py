"""Storage: the checkpoints that a run will keep, and whether there is room for them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

import lightning as L

from frontpage.command.errors import BadValue
from frontpage.machine.peak_memory import in_words
from frontpage.runs.checkpoint_file import RESERVE, numbered_beside
from frontpage.runs.checkpoint_parts import PARTS
from frontpage.training.callbacks.best_checkpoint import ALL, BestCheckpoint
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.due import Due


@dataclass(frozen=True)
class Kept:
    """The files that a key asks for; those that are links to others are not counted."""

    key: str
    value: object
    folder: Path
    files: int
    change: str  # what would make them fewer


def kept_checkpoints(trainer: L.Trainer, updates: int) -> list[Kept]:
    """What lies on the disk at the end of a run of so many updates, at most: it may end earlier, or find no best."""
    validated = trainer.fit_loop.epoch_loop.due(updates)
    best = [one for one in trainer.callbacks if isinstance(one, BestCheckpoint) and one.save_top_k]
    found: list[Kept] = []
    for one in trainer.callbacks:
        if isinstance(one, LastCheckpoint):
            found += _of_last(one, validated, bool(best))
    for one in best:
        validations = validated.count(0)
        files = validations if one.save_top_k == ALL else min(one.save_top_k, validations)
        found.append(
            Kept("callbacks.best_checkpoint.save_top_k", one.save_top_k, one.dirpath, files, "keep fewer of the best")
        )
    return found


def check_room(trainer: L.Trainer, kept: list[Kept], each: int) -> None:
    """Raise a UserError where a disk lacks the room for the checkpoints of `each` bytes, the one being written as well.

    What a run that goes on has there already is room for what replaces it.
    """
    disks: dict[int, list[Kept]] = {}
    for one in kept:
        disks.setdefault(os.stat(_existing(one.folder)).st_dev, []).append(one)
    own = {about.st_ino: about for path in _own_files(trainer) if path.is_file() for about in [path.stat()]}
    for disk, here in disks.items():
        files = sum(one.files for one in here)
        there = sum(about.st_size for about in own.values() if about.st_dev == disk)
        free = disk_usage(_existing(here[0].folder)).free
        if files and _needed(files, each) > free + there:
            most = max(here, key=lambda one: one.files)
            raise BadValue(most.key, most.value, _shortage(files, each, free, there, most))


def _needed(files: int, each: int) -> int:
    """The bytes of so many checkpoints, and of one that is being written beside them."""
    return (files + 1) * each + RESERVE


def _shortage(files: int, each: int, free: int, there: int, most: Kept) -> str:
    """What is needed, what is there, and what to do, in words."""
    needed = (
        f"{files:,} checkpoints of {in_words(each)} need {in_words(_needed(files, each))}, one being written counted"
    )
    own = f" beside {in_words(there)} of this run's own" if there else ""
    room = f"{_existing(most.folder)} has {in_words(free)} free{own}"
    return f"{needed}, and {room}: {most.change}, or another disk (hydra.run.dir)"


def _of_last(one: LastCheckpoint, validated: Due, best: bool) -> Iterator[Kept]:
    """The newest, the last one and the one before among them, and the milestones that are not among these."""
    saved = one.saves(validated)
    if best:  # a validation is saved, too, where it is among the best; none of them is a milestone that is not counted
        saved = Due(saved.periods | validated.periods, saved.last, saved.single | validated.single)
    newest, milestones = saved.newest(max(2, one.keep)), validated.last // one.milestones if one.milestones else 0
    among = sum(update % one.milestones == 0 for update in newest) if one.milestones else 0
    folder, last = one.path.parent, "callbacks.last_checkpoint"
    if one.keep > 2:
        yield Kept(f"{last}.keep", one.keep, folder, len(newest), "keep fewer")
    else:
        yield Kept(f"{last}.path", one.path, folder, len(newest), "a smaller model")
    if one.milestones:
        yield Kept(f"{last}.milestones", one.milestones, folder, milestones - among, "more updates between them")


def _own_files(trainer: L.Trainer) -> Iterator[Path]:
    """The checkpoints that the run has on the disk, or would have."""
    for one in trainer.callbacks:
        if isinstance(one, LastCheckpoint):
            yield from (one.path, one.before, *numbered_beside(one.path), *one.path.parent.glob(f"{PARTS}-*/*"))
        elif isinstance(one, BestCheckpoint):
            yield from (one.best, *one.dirpath.glob(f"{one.filename}-update-*.ckpt"))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
