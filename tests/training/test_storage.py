"""Promises of planned storage: the files that are counted are those that come, and a disk without room is refused."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from programs import train_tiny
from tiny import TINY

from frontpage.command.errors import UserError
from frontpage.runs.checkpoint_file import RESERVE
from frontpage.training import storage
from frontpage.training.callbacks.best_checkpoint import BestCheckpoint
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.due import Due
from frontpage.training.storage import check_room, kept_checkpoints

KEEP, MILESTONES = "callbacks.last_checkpoint.keep", "callbacks.last_checkpoint.milestones"
TOP = "callbacks.best_checkpoint.save_top_k"
RUN = (*TINY, "callbacks.sample_titles=null", "model.original_metric=never")


def trainer_of(folder, *, validations=10, first=False, last=None, best=None):
    """A trainer that has these callbacks and validates every so many updates."""
    callbacks = [LastCheckpoint(folder / "last.ckpt", **last)] if last is not None else []
    callbacks += [BestCheckpoint(folder, "val/loss", save_top_k=best)] if best is not None else []
    single = frozenset({1} if first else ())
    loop = SimpleNamespace(due=lambda updates: Due(frozenset({validations}), updates, single))
    return SimpleNamespace(callbacks=callbacks, fit_loop=SimpleNamespace(epoch_loop=loop))


# (settings, updates, files): counted by hand.
BY_HAND = [
    ({"last": {}}, 100, 2),
    ({"last": {}}, 7, 1),  # the end alone
    ({"last": {}, "first": True}, 7, 2),
    ({"last": {}, "best": 1}, 100, 3),
    ({"last": {}, "best": 3}, 25, 2 + 3),
    ({"last": {}, "best": 5}, 25, 2 + 3),  # validations: 10 20 25
    ({"last": {}, "best": -1}, 25, 2 + 3),
    ({"last": {}, "best": 0}, 25, 2),
    ({"last": {"keep": 1}}, 100, 2),
    ({"last": {"keep": 4, "interval": 2}}, 100, 4),
    ({"last": {"milestones": 7}}, 30, 2 + 3),  # 30 28, and 7 14 21
    ({"last": {"keep": 3, "interval": 2, "milestones": 7}, "best": 2}, 30, 3 + 3 + 2),  # 30 28 26, 7 14 21
    ({"last": {"interval": 50, "milestones": 20}, "best": 1}, 100, 2 + 4 + 1),  # 100 90 if it is a best one, 20 ... 80
    ({"last": {"interval": 50, "milestones": 20}}, 100, 2 + 3),  # 100 80, 20 40 60
    ({"best": 2}, 100, 2),
]


@pytest.mark.parametrize(("settings", "updates", "files"), BY_HAND, ids=str)
def test_the_files_are_those_counted_by_hand(tmp_path, settings, updates, files):
    assert sum(one.files for one in kept_checkpoints(trainer_of(tmp_path, **settings), updates)) == files


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"last": {"keep": 50, "interval": 2}, "best": 1}, f"{KEEP}=50"),
        ({"last": {"milestones": 10}, "best": 1}, f"{MILESTONES}=10"),
        ({"last": {}, "best": 9}, f"{TOP}=9"),
        ({"last": {}, "best": -1}, f"{TOP}=-1"),
        ({"last": {}}, "callbacks.last_checkpoint.path="),
    ],
    ids=str,
)
def test_a_disk_without_room_is_refused_in_a_line_that_names_what_asks_for_most(tmp_path, monkeypatch, settings, key):
    trainer, each = trainer_of(tmp_path / "run" / "checkpoints", **settings), 10 * 2**20
    kept = kept_checkpoints(trainer, 1000)
    needed = (sum(one.files for one in kept) + 1) * each + RESERVE
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=needed))
    check_room(trainer, kept, each)
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(UserError) as refused:
        check_room(trainer, kept, each)
    assert str(refused.value).startswith(key) and "\n" not in str(refused.value)
    assert f"{sum(one.files for one in kept):,} checkpoints of 10.0 MiB" in str(refused.value)


def test_what_a_run_has_on_the_disk_already_is_room_for_what_comes_once_for_all_names(tmp_path, monkeypatch):
    trainer, each = trainer_of(tmp_path, last={"keep": 3}, best=2), 1000
    for name in ("last.ckpt", "best-update-000010.ckpt", "somebody.ckpt"):
        (tmp_path / name).write_bytes(bytes(each))
    os.link(tmp_path / "last.ckpt", tmp_path / "step-000010.ckpt")
    os.link(tmp_path / "best-update-000010.ckpt", tmp_path / "best.ckpt")
    kept = kept_checkpoints(trainer, 1000)
    free = (3 + 2 + 1 - 2) * each + RESERVE
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=free))
    check_room(trainer, kept, each)
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=free - 1))
    with pytest.raises(UserError, match="beside 0.0 MiB of this run's own"):
        check_room(trainer, kept, each)
    (tmp_path / "parts-000010-abcdef12").mkdir()
    (tmp_path / "parts-000010-abcdef12" / "0-of-2.part").write_bytes(bytes(each))
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=free - each))
    check_room(trainer, kept, each)


@pytest.mark.slow
def test_a_run_that_does_not_fit_on_the_disk_leaves_nothing_behind(command, run_directories, monkeypatch):
    monkeypatch.setattr(storage, "disk_usage", lambda path: SimpleNamespace(free=RESERVE))
    outcome = command(*RUN, f"{KEEP}=9", "save_interval=1")
    assert outcome.status == 2 and outcome.stderr.startswith(f"{KEEP}=9: 10 checkpoints of ")
    assert len(outcome.stderr.splitlines()) == 1 and run_directories() == []


@pytest.mark.slow
@pytest.mark.parametrize("way", [(f"{KEEP}=4", f"{MILESTONES}=5", "save_interval=2"), (f"{TOP}=3",), (f"{TOP}=-1",)])
def test_the_plan_of_a_run_is_what_lies_on_the_disk_in_its_end(tmp_path, capfd, way):
    run: Path = train_tiny(tmp_path / "run", *RUN[len(TINY) :], "val_interval=4", *way)
    said = re.search(r"^checkpoints: +(?:at most )?(\d+) kept.*, ([\d.]+) MiB in all$", capfd.readouterr().out, re.M)
    files = {path.stat().st_ino: path.stat().st_size for path in (run / "checkpoints").iterdir()}
    assert int(said[1]) == len(files)
    assert float(said[2]) == pytest.approx(sum(files.values()) / 2**20, rel=0.2)
