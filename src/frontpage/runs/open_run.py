"""The run that a command is to train: its directory, found and locked, and the checkpoint that it goes on from."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import filelock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from frontpage.command.check import check_value
from frontpage.command.duration import seconds_of
from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import Text
from frontpage.command.notices import notice
from frontpage.command.process_family import FIRST_PROCESS, is_helper
from frontpage.command.run_folder import hydras_own
from frontpage.runs.checkpoint import Checkpoint, check_resumable, newest_intact, open_checkpoint
from frontpage.runs.record import told
from frontpage.runs.run import MARKS, Run

RUN_DIRECTORY, CHECKPOINT = "FRONTPAGE_RUN_DIRECTORY", "FRONTPAGE_CHECKPOINT"  # what other processes of a run inherit
OUT_OF_TIME = "trainer.max_time was used up"  # how the reason in run.json begins


@dataclass
class CurrentRun(Run):
    """A run that is to be trained now: locked, with the checkpoint that it goes on from."""

    checkpoint: Checkpoint | None = None
    finished: str | None = None  # nothing is left to do: how it ended, and what would let it go on
    ended_at: int | None = None  # updates of a finished run that is given a longer length
    lock: filelock.FileLock | None = field(default=None, repr=False)

    def __enter__(self) -> "CurrentRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.lock is None:
            return
        if kind is not None and {entry.name for entry in self.path.iterdir()} <= {self.lock_file.name, *hydras_own()}:
            self.lock_file.unlink()  # while we hold it
        self.lock.release()


def open_run(config: DictConfig) -> CurrentRun:
    """Find and lock the run's directory, write it to `paths.run_dir`, and open the checkpoint to continue from.

    Without `ckpt_path` the directory must be new or empty. `ckpt_path=last` continues the directory that was named,
    or else the newest unfinished run of the same `name`. Raises UserError.
    """
    if is_helper():
        path = os.environ.get(CHECKPOINT)
        run = CurrentRun(Path(os.environ[RUN_DIRECTORY]), open_checkpoint(Path(path), "ckpt_path") if path else None)
    else:
        check_value("ckpt_path", config.ckpt_path, Text | None)  # before all others: it says which run this is
        run = _find(config)
        os.environ[RUN_DIRECTORY] = str(run.path)
        os.environ[CHECKPOINT] = str(run.checkpoint.path) if run.checkpoint else ""
        os.environ[FIRST_PROCESS] = str(os.getpid())
    OmegaConf.update(config, "paths.run_dir", str(run.path))
    return run


def _find(config: DictConfig) -> CurrentRun:
    hydra = HydraConfig.get()
    made = Path(hydra.runtime.output_dir)  # Hydra has just made it, if it was not there
    named = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    if config.ckpt_path != "last":
        return _fresh(made, config.ckpt_path)
    search = not named and not str(hydra.mode).endswith("MULTIRUN")
    return _continued(made, search, config)


def _fresh(path: Path, ckpt_path: str | None) -> CurrentRun:
    """A run in a directory of its own; `ckpt_path` may be a checkpoint from elsewhere."""
    if path.exists() and not {entry.name for entry in path.iterdir()} <= {Run(path).lock_file.name, *hydras_own()}:
        raise UserError(
            f"hydra.run.dir={path}: this directory is in use already; name a new or an empty one,"
            " or continue its run with ckpt_path=last"
        )
    checkpoint = open_checkpoint(ckpt_path, "ckpt_path") if ckpt_path else None
    if checkpoint is not None:
        check_resumable(checkpoint)
    return _locked(CurrentRun(path, checkpoint))


def _continued(made: Path, search: bool, config: DictConfig) -> CurrentRun:
    """The run in the directory `made`; with `search` rather the newest unfinished one beside it, where there is one.

    One that has used up its `trainer.max_time`, or done all its updates, is finished until it is given more, with its
    directory named.
    """
    run = CurrentRun(_newest_unfinished(made) or made if search else made)
    there = {entry.name for entry in run.path.iterdir()} - hydras_own()
    if there and there.isdisjoint(MARKS):
        allowed = "this directory holds files but no run; name a run's, or an empty one"
        raise BadValue("hydra.run.dir", run.path, allowed)
    _check_files(run)
    record = run.record or {}
    whole = record.get("status") == "finished" and _holds_its_end(run, record)
    longer = whole and not record.get("reason") and _is_longer(record, config.trainer)
    if whole and not longer and not _has_more_time(record, config.trainer.get("max_time")):
        run.finished = _how_it_ended(record)
        return run
    _locked(run)
    run.ended_at = _updates(record) if longer else None
    for path in run.torn:
        path.unlink()
    run.checkpoint = newest = newest_intact(run.checkpoints)
    if newest is None:
        notice(f"ckpt_path=last: {run.path} holds no checkpoint; the run starts at step 0")
    elif newest.update < _updates(record):
        found = f"its newest intact checkpoint, {newest.path.name}, is of update {newest.update}"
        notice(f"ckpt_path=last: run.json tells of update {_updates(record)}, {found}; the run goes on from there")
    return run


def _updates(record: dict) -> int:
    """The optimizer updates that a run's record tells of."""
    steps = record.get("steps")
    return steps if type(steps) is int else 0


def _holds_its_end(run: Run, record: dict) -> bool:
    """Whether the last checkpoint of a finished run is there; UserError where none at all is left of it."""
    callbacks = told(record, "config", "callbacks")
    callbacks = callbacks if isinstance(callbacks, Mapping) else {}
    lasts = [one for one in callbacks.values() if str(told(one, "_target_")).endswith("LastCheckpoint")]
    if not lasts or Path(str(told(lasts[0], "path"))).parent.name != run.checkpoints.name:
        return True  # by its settings it has kept none, or elsewhere
    newest = newest_intact(run.checkpoints)
    if newest is None:
        problem = f"its run.json says finished at update {_updates(record)}, and no checkpoint of it is left"
        raise BadValue("hydra.run.dir", run.path, f"{problem}; name another directory for a new run")
    return newest.update >= _updates(record)


def _check_files(run: Run) -> None:
    """Raise a UserError where something lies in a file's or a folder's place that is none."""
    folder = run.checkpoints
    if folder.exists() and not folder.is_dir():
        allowed = f"{folder} is a file, and should be the folder of the run's checkpoints"
        raise BadValue("hydra.run.dir", run.path, allowed)
    partial = (Path(f"{path}.partial") for path in run.files)
    for wrong in (*run.files, *partial, *folder.glob("*.partial"), *folder.glob("*.ckpt")):
        if wrong.is_dir():
            raise BadValue("hydra.run.dir", run.path, f"{wrong} is a folder, and should be a file of the run")


def _how_it_ended(record: dict) -> str:
    """What a finished run had done, and what would let it go on."""
    reason = record.get("reason")
    if reason is None:
        done = f"all {record['steps']:,} updates" if type(record.get("steps")) is int else "all updates"
        return f"{done} are done; a larger trainer.max_steps or trainer.max_epochs goes on"
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
        return max_time is None or seconds_of(max_time) > seconds_of(before)
    except (ValueError, TypeError, OverflowError):  # what is no duration is told later
        return True


def _newest_unfinished(made: Path) -> Path | None:
    """The newest run beside `made` (of the same name) that is not finished and that no process holds."""
    # Names are times, but for those that a user chose, which say nothing of theirs.
    beside = [path for path in made.parent.glob("*") if path != made]
    for path in sorted(beside, key=lambda one: (one.name[:1].isdigit(), one.name), reverse=True):
        record = Run(path).record
        if record is not None and record.get("status") != "finished" and not _held(path):
            return path
    return None


def _held(path: Path) -> bool:
    lock = filelock.FileLock(Run(path).lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError as error:
        notice(f"ckpt_path=last: {path} is passed over, as it cannot be written ({error.strerror})")
        return True
    lock.release()
    return False


def _locked(run: CurrentRun) -> CurrentRun:
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        run.lock = filelock.FileLock(run.lock_file)
        run.lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BadValue("hydra.run.dir", run.path, "another process is running in this directory") from error
    except OSError as error:
        raise BadValue("hydra.run.dir", run.path, f"cannot be written ({error.strerror})") from error
    return run
