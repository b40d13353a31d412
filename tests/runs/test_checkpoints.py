"""Promises of a run's checkpoints: the newest intact one is taken, and a damaged one never loses the run."""

import os
import shutil

import pytest
import torch
from checkpoints import finished_fixture, run_fixture  # noqa: F401
from programs import record_of, weights_of
from run_outputs import losses_of
from tiny import TINY

from frontpage.runs import checked_file
from frontpage.runs.checked_file import verify
from frontpage.runs.checkpoint import newest_intact
from frontpage.runs.checkpoint_file import CheckpointFile, update_of


def tear(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.slow
def test_the_newest_is_the_one_of_the_latest_update_whatever_the_times_of_the_files(run):
    """`cp -r` gives the files other times; of the same update `last.ckpt` goes first."""
    folder = run / "checkpoints"
    assert newest_intact(folder).path == folder / "last.ckpt"
    for order in (["last", "best", "last-1"], ["last-1", "best", "last"]):
        for time, name in enumerate(order):
            os.utime(folder / f"{name}.ckpt", (time, time))
        assert newest_intact(folder).path == folder / "last.ckpt"
    (folder / "last.ckpt").unlink()
    assert newest_intact(folder).path == folder / "best.ckpt"


@pytest.mark.slow
def test_a_start_reads_a_checkpoint_for_its_checksum_once(run, command, monkeypatch):
    read = []

    def note(path):
        read.append(path.name)
        return verify(path)

    monkeypatch.setattr(checked_file, "verify", note)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last", "trainer.max_epochs=2")
    assert outcome.status == 0, outcome.stderr
    before_the_end = read[: -read[::-1].index("last.ckpt") - 1]  # the last look is at what the end has written
    assert before_the_end.count("last.ckpt") == 1 and before_the_end.count("best.ckpt") == 1


@pytest.mark.slow
def test_a_torn_last_checkpoint_is_passed_over_for_the_one_before_and_the_end_is_the_same(run, command):
    tear(run / "checkpoints" / "last.ckpt")
    (run / "checkpoints" / "best.ckpt").unlink()
    (run / "run.json").write_text('{"status": "running"}')
    expected = losses_of(run)
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert f"{run}/checkpoints/last.ckpt is damaged" in outcome.stdout
    assert losses_of(run) == expected
    assert any("last.ckpt is damaged" in notice for notice in record_of(run)["notices"])


@pytest.mark.slow
def test_a_torn_checkpoint_that_is_named_is_refused_with_the_newest_intact_one(run, command):
    folder = run / "checkpoints"
    tear(folder / "last.ckpt")
    outcome = command(*TINY, f"ckpt_path={folder}/last.ckpt")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    assert f"ckpt_path={folder}/last.ckpt: not a readable checkpoint" in outcome.stderr
    assert f"the newest intact one beside it is {newest_intact(folder).path}" in outcome.stderr


@pytest.mark.slow
def test_a_bit_flipped_inside_a_weight_is_not_trained_on(run, command):
    path = run / "checkpoints" / "last.ckpt"
    content, weight = bytearray(path.read_bytes()), next(iter(weights_of(run).values()))
    content[content.index(weight.numpy().tobytes()[:64]) + 3] ^= 1
    path.write_bytes(content)
    outcome = command(*TINY, f"ckpt_path={path}")
    assert outcome.status == 2 and "its checksum is wrong" in outcome.stderr


@pytest.mark.slow
def test_a_run_whose_directory_was_moved_still_knows_its_best(run, command):
    """The best is made unbeatable; a resumed run in another place must not replace it by its own next validation."""
    folder = run / "checkpoints"
    state = torch.load(folder / "last-1.ckpt", weights_only=True)
    state["callbacks"]["BestCheckpoint"]["kept"] = [[0.0, state["global_step"]]]
    for path in folder.iterdir():
        path.unlink()
    for name in ("best", "last"):
        CheckpointFile().save_checkpoint(state, folder / f"{name}.ckpt")
    kept = (folder / "best.ckpt").read_bytes()
    (run / "run.json").write_text('{"status": "running"}')
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0 and "validation_step" in outcome.stdout
    assert (folder / "best.ckpt").read_bytes() == kept


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["last.ckpt", "all"])
def test_a_finished_run_whose_end_is_lost_is_not_called_finished(run, command, lost):
    """It goes on from what there is; where nothing is left it is refused, and nothing of it is changed."""
    for path in list((run / "checkpoints").iterdir()):
        if lost == "all" or path.name != "last-1.ckpt":
            path.unlink()
    before = (run / "run.json").read_bytes()
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    if lost == "all":
        assert outcome.status == 2 and "finished at update 17, and no checkpoint of it is left" in outcome.stderr
        assert (run / "run.json").read_bytes() == before
    else:
        assert outcome.status == 0, outcome.stderr
        assert (
            "run.json tells of update 17, its newest intact checkpoint, last-1.ckpt, is of update 15" in outcome.stdout
        )
        assert update_of(run / "checkpoints" / "last.ckpt") == 17


@pytest.mark.slow
def test_what_lies_in_the_place_of_a_runs_files_is_told_and_what_a_crash_left_is_cleared(run, command):
    last = (*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    left = [run / "metrics.csv.partial", run / "run.json.partial", run / "checkpoints" / "last.ckpt.partial"]
    for path in left:
        path.write_bytes(b"half")
    assert command(*last).status == 0
    assert not any(path.exists() for path in left)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    left[2].mkdir()
    outcome = command(*last)
    assert outcome.status == 2 and f"{left[2]} is a folder" in outcome.stderr
    left[2].rmdir()
    best = run / "checkpoints" / "best.ckpt"
    best.unlink()
    best.mkdir()
    outcome = command(*last)
    assert outcome.status == 2 and f"{best} is a folder, and should be a file of the run" in outcome.stderr
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("a file")
    outcome = command(*last)
    assert outcome.status == 2 and "checkpoints is a file" in outcome.stderr
    assert (run / "checkpoints").read_text() == "a file"


@pytest.mark.slow
@pytest.mark.parametrize(
    "record", ["[]", '"text"', "3", '{"status": "finished", "steps": "x", "config": []}', '{"data": 1}']
)
def test_a_record_of_another_form_takes_no_resume_down(run, command, record):
    (run / "run.json").write_text(record)
    outcome = command(*TINY, "save_interval=5", f"hydra.run.dir={run}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
