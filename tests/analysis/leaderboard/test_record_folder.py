"""Promises of a record's folder: it is replaced as a whole or not at all, and the best of its track stands first."""

import json

import numpy as np
import pytest
import torch

from frontpage.analysis.leaderboard.excerpt import excerpt_of
from frontpage.analysis.leaderboard.experiment import without_places
from frontpage.analysis.leaderboard.page import ranked
from frontpage.analysis.leaderboard.record_folder import write_record
from frontpage.analysis.leaderboard.records import all_records, read_record, record_names, teacher_of
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.analysis.leaderboard.tracks import TRACKS

ENTRY = {"track": "tiny", "experiment": "x", "reaches": None}


def run_of(loss, seed=1, flops=1.0, rate=0.1):
    """What is kept of a run with this loss on three titles of ten characters."""
    nll = torch.full((3,), 10 * loss, dtype=torch.float64)
    scores = KeptScores.of(np.arange(3, dtype=np.uint64), nll, torch.full_like(nll, 10.0))
    config = {"seed": seed, "data": {"packing_seed": seed}, "optimizer": {"lr": rate}}
    return {seed: ({"config": config, "training_flops": flops}, scores)}


def written(board, name="first", loss=1.0, about="It is.", entry=ENTRY, **run):
    write_record(board / "records" / name, entry, run_of(loss, **run), None, about)
    return read_record(name)


def test_a_record_is_replaced_with_its_seeds_and_keeps_its_paragraph_and_what_was_scored_later(board):
    assert written(board).loss == pytest.approx(1.0)
    later = board / "records" / "first" / "later.json"
    later.write_text(json.dumps([{"fingerprint": "f"}]))
    again = written(board, loss=2.0, seed=2, about=None)
    assert (again.about, again.later, [run.seed for run in again.runs]) == ("It is.\n", [{"fingerprint": "f"}], [2])
    other = written(board, about="Now this.", entry=ENTRY | {"experiment": "y"})
    assert (other.about, other.later) == ("Now this.\n", []), "later scores are of one recipe"
    later.write_text(json.dumps([{"fingerprint": "f"}]))
    changed = written(board, entry=ENTRY | {"experiment": "y"}, rate=0.2)
    assert changed.later == [], "the experiment's file has changed"
    assert [path.name for path in (board / "records").iterdir()] == ["first"]


def test_an_error_on_the_way_leaves_the_record_as_it_was(board, monkeypatch):
    written(board)
    before = {path: path.read_bytes() for path in (board / "records").rglob("*.*")}

    def full(scores, path):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(KeptScores, "save", full)
        written(board, loss=2.0)
    assert {path: path.read_bytes() for path in (board / "records").rglob("*.*")} == before


def test_what_a_kill_has_left_is_no_record_and_nothing_is_lost(board):
    written(board)
    folder = board / "records"
    (folder / "first").rename(folder / "first.old")  # between the two last steps
    (folder / "first.new").mkdir()
    (folder / "first.new" / "record.json").write_text("{}")
    assert record_names() == []
    assert written(board, loss=2.0, about=None).about == "It is.\n"
    assert [path.name for path in folder.iterdir()] == ["first"]


def test_work_that_no_longer_reaches_its_aim_stands_last(board):
    written(board, "aim", 1.5)
    work = ENTRY | {"track": "work", "reaches": "aim"}
    written(board, "cheap", 1.5, entry=work, flops=1.0)
    written(board, "dear", 1.0, entry=work, flops=2.0)
    assert [one.name for one in ranked(TRACKS["work"], all_records())] == ["cheap", "dear"]
    written(board, "aim", 1.25)
    assert [one.name for one in ranked(TRACKS["work"], all_records())] == ["dear", "cheap"]


def test_the_table_of_the_readme_leaves_out_work_that_no_longer_reaches_its_aim(board):
    work = ENTRY | {"track": "work", "reaches": "aim"}
    written(board, "aim", 1.5)
    written(board, "cheap", 1.5, entry=work)
    assert "[cheap]" in excerpt_of(all_records())
    written(board, "aim", 1.25)
    assert "[cheap]" not in excerpt_of(all_records())


@pytest.mark.parametrize("teacher", ["logs/runs/first", "/home/me/runs/first", ["logs/runs/first"]])
def test_a_student_is_known_as_one_wherever_its_teacher_lay(teacher):
    config = {"paths": {"log_dir": "logs"}, "data": {}, "model": {"technique": {"distillation": {"teacher": teacher}}}}
    kept = without_places(config)
    assert teacher_of({"config": kept}) == "model.technique.distillation.teacher"
    assert "/home" not in str(kept)
