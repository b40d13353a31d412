"""Which directory a run lives in, and which checkpoint it continues from."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import filelock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from frontpage.command.disk_full import replacing
from frontpage.command.errors import UserError, bad_value, local_path, nearest
from frontpage.command.notices import notice
from frontpage.command.process_family import FIRST_PROCESS, is_helper
from frontpage.command.run_folder import expand_homes, hydras_own
from frontpage.runs import record as run_record
from frontpage.runs.checkpoint_file import update_of
from frontpage.runs.checkpoints import check_resumable, newest_intact

RUN_DIRECTORY, CHECKPOINT = "FRONTPAGE_RUN_DIRECTORY", "FRONTPAGE_CHECKPOINT"  # what other processes of a run inherit
RUN_FILES = ("run.json", "run.lock")  # either makes a directory a run's; the second is there first
OUT_OF_TIME = "trainer.max_time was used up"  # how the reason in run.json begins


@dataclass
class RunDirectory:
    """A run's directory, locked while it runs, and the checkpoint that the run continues from."""

    path: Path
    checkpoint: Path | None = None
    finished: str | None = None  # nothing is left to do: how it ended, and what would let it go on
    ended_at: int | None = None  # updates of a finished run that is given a longer length
    temporary: bool = False  # named by Hydra, not by the user: removed where nothing came of the run
    lock: filelock.FileLock | None = field(default=None, repr=False)

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest `val/nats_per_char`."""
        return self.path / "checkpoints" / "best.ckpt"

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.lock is None:
            return
        if kind is not None and {entry.name for entry in self.path.iterdir()} <= {"run.lock", *hydras_own()}:
            (self.path / "run.lock").unlink()  # while we hold it
        self.lock.release()


def open_run(config: DictConfig) -> RunDirectory:
    """Find and lock the run's directory, write it to `paths.run_dir`, and find the checkpoint to continue from.

    Without `ckpt_path` the directory must be new or empty. `ckpt_path=last` continues the directory that was named,
    or else the newest unfinished run of the same `name`. A value's `~/` is written out. Raises UserError.
    """
    expand_homes(config)
    if is_helper():
        checkpoint = os.environ.get(CHECKPOINT)
        run = RunDirectory(Path(os.environ[RUN_DIRECTORY]), Path(checkpoint) if checkpoint else None)
    else:
        run = _find(config)
        os.environ[RUN_DIRECTORY], os.environ[CHECKPOINT] = str(run.path), str(run.checkpoint or "")
        os.environ[FIRST_PROCESS] = str(os.getpid())
    OmegaConf.update(config, "paths.run_dir", str(run.path))
    return run


def read_record(path: Path) -> dict | None:
    """The `run.json` of a run's directory, or None where there is none; a notice where there is one that is damaged."""
    record = run_record.read_record(path)
    if record is None and (path / "run.json").exists():
        notice(f"{path}: {run_record.damage_of(path)}; it counts as if it were not there")
    return record


def find_runs(path: Path) -> list[Path]:
    """The run at `path`, or all that lie somewhere below it, in order; UserError where there is none."""
    if _is_run(path):
        return [path.resolve()]
    found = {file.parent.resolve() for name in RUN_FILES for file in path.rglob(name)} if path.is_dir() else set()
    if not found:
        if path.exists():
            raise bad_value("run", path, "no run's directory, and no folder that holds one")
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise bad_value("run", path, f"there is no such folder{nearest(path.name, beside)}")
    return sorted(found)


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in RUN_FILES)


def keep_lines(path: Path, keep: Callable[[str], bool]) -> None:
    """Replace a file of lines by those that `keep` holds true for; a line that a crash has cut off is left out."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().split(b"\n")[:-1]:  # behind the last newline is nothing, or what was cut off
        try:
            if keep(line.decode("utf-8")):
                kept.append(line + b"\n")
        except (ValueError, AttributeError, TypeError):  # what is no text, no number, no JSON, no object
            continue
    with replacing(path) as partial:
        partial.write_bytes(b"".join(kept))


def _find(config: DictConfig) -> RunDirectory:
    hydra = HydraConfig.get()
    made = Path(hydra.runtime.output_dir)  # Hydra has just made it, if it was not there
    named = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    if config.ckpt_path != "last":
        return _fresh(made, config.ckpt_path)
    search = not named and not str(hydra.mode).endswith("MULTIRUN")
    return _continued(made, search, config)


def _fresh(path: Path, ckpt_path: str | None) -> RunDirectory:
    """A run in a directory of its own; `ckpt_path` may be a checkpoint from elsewhere."""
    if path.exists() and not {entry.name for entry in path.iterdir()} <= {"run.lock", *hydras_own()}:
        raise UserError(
            f"hydra.run.dir={path}: this directory is in use already; name a new or an empty one,"
            " or continue its run with ckpt_path=last"
        )
    checkpoint = local_path(ckpt_path, "ckpt_path") if ckpt_path else None
    if checkpoint is not None:
        check_resumable(checkpoint, "ckpt_path")
    return _locked(RunDirectory(path, checkpoint))


def _continued(made: Path, search: bool, config: DictConfig) -> RunDirectory:
    """The run in the directory `made`; with `search` rather the newest unfinished one beside it, where there is one.

    One that has used up its `trainer.max_time`, or done all its updates, is finished until it is given more, with its
    directory named.
    """
    path = _newest_unfinished(made) or made if search else made
    there = {entry.name for entry in path.iterdir()} - hydras_own()
    if there and there.isdisjoint({"run.lock", "run.json"}):
        raise bad_value("hydra.run.dir", path, "this directory holds files but no run; name a run's, or an empty one")
    _check_files(path)
    record = read_record(path) or {}
    whole = record.get("status") == "finished" and _holds_its_end(path, record)
    longer = whole and not record.get("reason") and _is_longer(record, config.trainer)
    if whole and not longer and not _has_more_time(record, config.trainer.get("max_time")):
        return RunDirectory(path, finished=_how_it_ended(record))
    run = _locked(RunDirectory(path, ended_at=_updates(record) if longer else None))
    for partial in (*path.glob("*.partial"), *path.glob("checkpoints/*.partial")):
        partial.unlink()  # what a crash has left
    run.checkpoint = newest_intact(path / "checkpoints")
    update = update_of(run.checkpoint) if run.checkpoint else 0
    if run.checkpoint is None:
        notice(f"ckpt_path=last: {path} holds no checkpoint; the run starts at step 0")
    elif update < _updates(record):
        found = f"its newest intact checkpoint, {run.checkpoint.name}, is of update {update}"
        notice(f"ckpt_path=last: run.json tells of update {_updates(record)}, {found}; the run goes on from there")
    return run


def told(record: object, *keys: str) -> Any:
    """What a record or a config says under nested keys; None where it lacks one, or holds no mapping there."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _updates(record: dict) -> int:
    """The optimizer updates that a run's record tells of."""
    steps = record.get("steps")
    return steps if type(steps) is int else 0


def _holds_its_end(path: Path, record: dict) -> bool:
    """Whether the last checkpoint of a finished run is there; UserError where none at all is left of it."""
    callbacks = (told(record, "config", "callbacks") or {}).values()
    lasts = [one for one in callbacks if str(told(one, "_target_")).endswith("LastCheckpoint")]
    if not lasts or Path(str(told(lasts[0], "path"))).parent.name != "checkpoints":
        return True  # by its settings it has kept none, or elsewhere
    newest = newest_intact(path / "checkpoints")
    if newest is None:
        problem = f"its run.json says finished at update {_updates(record)}, and no checkpoint of it is left"
        raise bad_value("hydra.run.dir", path, f"{problem}; name another directory for a new run")
    return update_of(newest) >= _updates(record)


def _check_files(path: Path) -> None:
    """Raise a UserError where something lies in a file's or a folder's place that is none."""
    folder = path / "checkpoints"
    if folder.exists() and not folder.is_dir():
        raise bad_value("hydra.run.dir", path, f"{folder} is a file, and should be the folder of the run's checkpoints")
    for name in (*RUN_FILES, "config.yaml", "events.jsonl", "metrics.csv", "tokenizer.json", "samples.txt"):
        wrong = [one for one in (path / name, path / f"{name}.partial") if one.is_dir()]
        if wrong:
            raise bad_value("hydra.run.dir", path, f"{wrong[0]} is a folder, and should be a file of the run")
    for wrong in folder.glob("*.partial"):
        if wrong.is_dir():
            raise bad_value("hydra.run.dir", path, f"{wrong} is a folder, and should be a file of the run")


def _how_it_ended(record: dict) -> str:
    """What a finished run had done, and what would let it go on."""
    reason = record.get("reason")
    if reason is None:
        return (
            f"all {record.get('steps', 0):,} updates are done; a larger trainer.max_steps or trainer.max_epochs goes on"
        )
    if str(reason).startswith(OUT_OF_TIME):
        return f"{reason}; a larger trainer.max_time goes on"
    return f"{reason}; init_from=... starts a new run from its weights"


def _is_longer(record: dict, trainer: DictConfig) -> bool:
    """Whether `max_steps` or `max_epochs` is larger than a finished run had it; if that gives more updates is open."""
    before = told(record, "config", "trainer") or {}

    def length(settings: Mapping[str, object], name: str) -> float:
        value = settings.get(name)
        return value if isinstance(value, int | float) and value != -1 else math.inf  # what is no number is told later

    return any(length(trainer, name) > length(before, name) for name in ("max_steps", "max_epochs"))


def _has_more_time(record: dict, max_time: str | Mapping[str, int] | None) -> bool:
    """Whether a run that its `trainer.max_time` has ended is given more of it now."""
    before = told(record, "config", "trainer", "max_time")
    if not str(record.get("reason")).startswith(OUT_OF_TIME) or before is None:
        return False
    try:
        return max_time is None or _seconds(max_time) > _seconds(before)
    except (ValueError, TypeError):  # what is no duration is told later
        return True


def _seconds(duration: str | Mapping[str, int]) -> float:
    """Seconds of DD:HH:MM:SS, or of a mapping such as {minutes: 5}."""
    if isinstance(duration, str):
        duration = dict(zip(("days", "hours", "minutes", "seconds"), map(int, duration.split(":")), strict=True))
    return timedelta(**duration).total_seconds()


def _newest_unfinished(made: Path) -> Path | None:
    """The newest run beside `made` (of the same name) that is not finished and that no process holds."""
    for path in sorted((p for p in made.parent.glob("*") if p != made), key=lambda p: p.name, reverse=True):
        record = read_record(path)
        if record is not None and record.get("status") != "finished" and not _held(path):
            return path
    return None


def _held(path: Path) -> bool:
    lock = filelock.FileLock(path / "run.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _locked(run: RunDirectory) -> RunDirectory:
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        run.lock = filelock.FileLock(run.path / "run.lock")
        run.lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise bad_value("hydra.run.dir", run.path, "another process is running in this directory") from error
    except OSError as error:
        raise bad_value("hydra.run.dir", run.path, f"cannot be written ({error.strerror})") from error
    return run
