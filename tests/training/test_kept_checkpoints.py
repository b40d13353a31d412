"""Promises of rotation: exactly the K newest, every milestone, the best and the last are kept, through any kill."""

import errno
import re
import shutil
from pathlib import Path

import pytest
from programs import record_of, weights_of
from run_outputs import same, score_validations, stop_at
from tiny import TINY

from frontpage.runs import checked_file, checkpoint_file
from frontpage.runs.checked_file import verify
from frontpage.runs.checkpoint import newest_intact
from frontpage.runs.checkpoint_file import CheckpointFile, named_update, update_of
from frontpage.training.callbacks import last_checkpoint

KEEP, MILESTONES = "callbacks.last_checkpoint.keep", "callbacks.last_checkpoint.milestones"
# Saved at every second update, at the milestones, and at the validations 10, 20 and 30, if they are the best.
LONG = (
    *TINY,
    "trainer.max_epochs=2",
    "trainer.max_steps=30",
    "val_interval=10",
    "save_interval=2",
    "callbacks.sample_titles=null",
    "model.original_metric=never",
)
RUN = (*LONG, f"{KEEP}=3", f"{MILESTONES}=7")
NAMES = {"best.ckpt", "last.ckpt", "last-1.ckpt"}


def files(*steps, milestones=(7, 14, 21, 28)):
    return NAMES | {f"step-{one:06d}.ckpt" for one in steps} | {f"milestone-{one:06d}.ckpt" for one in milestones}


def kept(directory, intact=True):
    """The names in the folder of checkpoints, each of the update that it names."""
    paths = [*(directory / "checkpoints").iterdir()]
    for path in paths:
        assert not intact or named_update(path) in (None, update_of(path)), path
    return {path.name for path in paths}


def contents(directory):
    return len({path.stat().st_ino for path in (directory / "checkpoints").iterdir()})


def planned(outcome):
    return re.search(r"^checkpoints: +(at most )?(\d+) kept", outcome.stdout, re.MULTILINE).groups()


def crash(command, monkeypatch, step, *settings):
    """Break off at an update, before it is saved."""
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        stop_at(patch, step, False, RuntimeError("crash"))
        command(*settings)


# Validated every five updates with these scores, so that 5 is among the three best until 20 comes.
BEST = (*RUN, "callbacks.best_checkpoint.save_top_k=3", "val_interval=5")
SCORES = {5: 5.0, 10: 2.0, 15: 3.0, 20: 1.0, 25: 6.0, 30: 7.0}


@pytest.fixture
def scored(monkeypatch):
    score_validations(monkeypatch, SCORES)


@pytest.fixture(scope="module")
def ends():
    return {}


@pytest.fixture
def end(command, tmp_path_factory, ends):
    """The run that nothing interrupts."""
    if not ends:
        ends["run"] = tmp_path_factory.mktemp("whole") / "run"
        ends["outcome"] = command(*RUN, f"hydra.run.dir={ends['run']}")
    return ends["run"], ends["outcome"]


@pytest.mark.slow
def test_rotation_keeps_exactly_k_and_best_and_last_and_milestones(end):
    run, outcome = end
    assert outcome.status == 0, outcome.stderr
    assert kept(run) == files(26, 28, 30)
    steps = {name: update_of(run / "checkpoints" / f"{name}.ckpt") for name in ("last", "last-1", "best")}
    assert steps["last"] == 30 and steps["last-1"] == 28 and steps["best"] in (10, 20, 30)
    assert contents(run) == 7, "26, 28 and 30, the milestones before them, and the best"
    assert planned(outcome) == ("at most ", "7")


@pytest.mark.slow
def test_without_milestones_the_planned_number_is_that_of_the_files_on_the_disk(command, tmp_path):
    for keep, expected in ((1, 3), (2, 3), (4, 5)):
        run = tmp_path / str(keep)
        outcome = command(*LONG, "trainer.max_steps=12", f"{KEEP}={keep}", f"hydra.run.dir={run}")
        assert outcome.status == 0, outcome.stderr
        assert kept(run) == files(*range(12, 12 - 2 * keep, -2), milestones=())
        assert planned(outcome) == (None, str(expected)) and contents(run) == expected


@pytest.mark.slow
def test_the_defaults_keep_no_more_than_the_last_two_and_the_best(command, tmp_path):
    outcome = command(*LONG, f"hydra.run.dir={tmp_path}/run")
    assert outcome.status == 0 and kept(tmp_path / "run") == NAMES and planned(outcome) == (None, "3")


@pytest.mark.slow
@pytest.mark.parametrize("broken", [("milestone", 21), ("step", 21), ("step", 22), ("step", 30)], ids=str)
def test_a_kill_between_a_checkpoint_and_its_other_names_is_made_up_for(command, tmp_path, monkeypatch, end, broken):
    """last.ckpt is there, its other name is not, and what the new one takes the place of still is."""
    run, link, (kind, update) = tmp_path / "run", last_checkpoint.linked, broken

    def kill(source, name):
        if name.name == f"{kind}-{update:06d}.ckpt":
            raise RuntimeError("crash")
        return link(source, name)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        patch.setattr(last_checkpoint, "linked", kill)
        command(*RUN, f"hydra.run.dir={run}")
    folder = run / "checkpoints"
    assert update_of(folder / "last.ckpt") == update and f"{kind}-{update:06d}.ckpt" not in kept(run)
    if update < 30:
        shutil.copy(folder / "step-000018.ckpt", folder / "step-000004.ckpt")
        crash(command, monkeypatch, update + 1, *RUN, f"hydra.run.dir={run}", "ckpt_path=last")
        steps = {21: (18, 20, 21), 22: (20, 21, 22)}[update]
        assert kept(run) == files(*steps, milestones=(7, 14, 21))
    outcome = command(*RUN, f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert kept(run) == files(26, 28, 30) and same(weights_of(end[0]), weights_of(run))


@pytest.mark.parametrize(
    "moment",
    [
        "step-000018.ckpt",
        "best-update-000005.ckpt",
        pytest.param("between saves", marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_k_and_the_three_best_and_last_and_milestones_through_kills_between_write_and_delete(
    command, tmp_path, monkeypatch, scored, moment
):
    """The new file is there, and what it takes the place of still is: the same command makes up for it."""
    run, unlink = tmp_path / "run", Path.unlink
    settings = (*BEST, f"hydra.run.dir={run}", "ckpt_path=last")

    def kill(path, **options):
        if path.name == moment:
            raise RuntimeError("crash")
        unlink(path, **options)

    if moment == "between saves":
        crash(command, monkeypatch, 23, *settings)
    elif moment is not None:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
            patch.setattr(Path, "unlink", kill)
            command(*settings)
        newest = {"step-000018.ckpt": "step-000022.ckpt", "best-update-000005.ckpt": "best-update-000020.ckpt"}[moment]
        assert {moment, newest} <= kept(run)
    outcome = command(*settings)
    assert outcome.status == 0, outcome.stderr
    assert kept(run) == files(26, 28, 30) | {f"best-update-{one:06d}.ckpt" for one in (10, 15, 20)}
    assert update_of(run / "checkpoints" / "best.ckpt") == 20
    assert planned(outcome) == ("at most ", "9") and contents(run) == 9


@pytest.mark.slow
def test_where_the_last_two_are_damaged_a_run_goes_on_from_a_rolling_one(command, tmp_path, monkeypatch, end):
    """Damage is that of all names of a file. What the run writes again is removed, but for milestones."""
    run = tmp_path / "run"
    settings = (*RUN, f"hydra.run.dir={run}", "ckpt_path=last")
    crash(command, monkeypatch, 29, *settings)
    assert kept(run) == files(24, 26, 28)
    for name in ("last", "last-1"):
        path = run / "checkpoints" / f"{name}.ckpt"
        path.write_bytes(path.read_bytes()[:-1000])
    assert newest_intact(run / "checkpoints").path.name == "step-000024.ckpt"
    crash(command, monkeypatch, 25, *settings)
    assert kept(run, intact=False) == files(24)
    outcome = command(*settings)
    assert outcome.status == 0, outcome.stderr
    assert kept(run) == files(26, 28, 30) and same(weights_of(end[0]), weights_of(run))


@pytest.mark.slow
def test_other_numbers_are_taken_over_on_resume(command, tmp_path, monkeypatch):
    run = tmp_path / "run"
    settings = (*LONG, f"hydra.run.dir={run}", "ckpt_path=last")
    crash(command, monkeypatch, 13, *settings, f"{KEEP}=5", f"{MILESTONES}=7")
    assert kept(run) == files(6, 7, 8, 10, 12, milestones=[7])
    crash(command, monkeypatch, 13, *settings, f"{KEEP}=2")
    assert kept(run) == files(10, 12, milestones=[7]), "from the start"
    crash(command, monkeypatch, 17, *settings, f"{KEEP}=4", f"{MILESTONES}=5")
    assert kept(run) == files(12, 14, 15, 16, milestones=[7, 15])
    assert command(*settings).status == 0
    assert kept(run) == files(12, 14, 15, 16, milestones=[7, 15]), "0 lets be what is there"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["the checkpoint", "its copy"])
def test_a_full_disk_costs_what_it_has_no_room_for_and_no_more(command, tmp_path, monkeypatch, way):
    run, save, copy = tmp_path / "run", CheckpointFile.save_checkpoint, shutil.copyfile

    def full(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(self, checkpoint, path, *given, **options):
        with monkeypatch.context() as patch:
            if checkpoint["global_step"] == 28:
                patch.setattr("frontpage.runs.checkpoint_file.os.fsync", full)
            save(self, checkpoint, path, *given, **options)

    if way == "the checkpoint":
        monkeypatch.setattr(CheckpointFile, "save_checkpoint", fill)
    else:
        monkeypatch.setattr(checkpoint_file.os, "link", lambda *unused: (_ for _ in ()).throw(OSError(errno.EPERM, "")))
        monkeypatch.setattr(
            checkpoint_file.shutil, "copyfile", lambda one, other: full() if "028" in other.name else copy(one, other)
        )
    outcome = command(*RUN, f"hydra.run.dir={run}")
    assert outcome.status == 0, outcome.stderr
    assert kept(run) == files(24, 26, 30, milestones=(7, 14, 21))
    assert any("the disk is full" in one for one in record_of(run)["notices"])


@pytest.mark.slow
def test_numbered_files_are_read_only_where_they_can_be_the_newest(end, tmp_path, monkeypatch):
    read, folder = [], tmp_path / "checkpoints"
    shutil.copytree(end[0] / "checkpoints", folder)
    monkeypatch.setattr(checked_file, "verify", lambda path: read.append(path.name) or verify(path))
    assert newest_intact(folder).path.name == "last.ckpt" and set(read) == NAMES
    for name in ("last.ckpt", "best.ckpt", "last-1.ckpt", "step-000030.ckpt"):
        (folder / name).unlink()
    shutil.copy(folder / "step-000026.ckpt", folder / "milestone-000035.ckpt")
    read.clear()
    assert newest_intact(folder).path.name == "step-000028.ckpt", "a name that is untrue is no newest one"
    assert read == ["milestone-000035.ckpt", "step-000028.ckpt"]


@pytest.mark.slow
def test_a_place_with_kept_checkpoints_of_another_run_is_refused(command, tmp_path):
    folder = tmp_path / "elsewhere"
    settings = (*RUN, "trainer.max_steps=4", f"hydra.run.dir={tmp_path}/run")
    folder.mkdir()
    (folder / "step-000004.ckpt").write_text("somebody's")
    outcome = command(*settings, f"callbacks.last_checkpoint.path={folder}/last.ckpt")
    assert outcome.status == 2 and "step-000004.ckpt already" in outcome.stderr
    assert command(*settings, f"callbacks.last_checkpoint.path={folder}/mine.ckpt").status == 0
    names = {"mine.ckpt", "mine-1.ckpt", "mine-step-000002.ckpt", "mine-step-000004.ckpt"}
    assert {path.name for path in folder.iterdir()} == {"step-000004.ckpt", *names}
    assert (folder / "step-000004.ckpt").read_text() == "somebody's"
