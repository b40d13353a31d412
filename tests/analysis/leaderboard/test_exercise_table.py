"""Promises of the second report's table: what was published by both metrics, and our runs at its places."""

import pytest

from frontpage.analysis.leaderboard.entry import validations
from frontpage.analysis.leaderboard.exercise import section
from frontpage.analysis.leaderboard.records import KeptRun, Record
from frontpage.analysis.leaderboard.tracks import TRACKS
from frontpage.evaluation.metrics import HEADLINE


def record(name, validations, steps):
    run = KeptRun(1, {"steps": steps, "validations": validations}, scores=None)
    return Record(name, TRACKS["full"], name, None, "", [run], None, [])


def rows_of(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[0], {row[0]: row[1:] for row in cells[2:]}


def test_published_losses_stand_as_they_were_and_over_the_share_of_tokens_that_was_scored():
    columns, rows = rows_of(section([]))
    assert len(rows) == 23 and len(columns) == 5
    share = 14 * 8192 / 121_400  # spans of 128 x 64 tokens that fit into the validation tokens
    assert rows["938"] == ["1.753", f"{1.753 / share:.3f}", "1.328", f"{1.328 / share:.3f}"]
    assert rows["44"][0] == "1.950" and rows["44"][2:] == ["1.735", f"{1.735 / share:.3f}"]


def test_our_runs_stand_at_the_same_shares_of_their_updates():
    validations = [
        {"update": update, "mainrun_loss": 10 + update, "nats_per_char": 20 + update} for update in (1, 88, 870, 1876)
    ]
    ours = record("adamw_gpt", validations, 1876)
    columns, rows = rows_of(section([ours]))
    assert columns[-2:] == ["AdamW, ours: legacy", "AdamW, ours: honest"] and len(columns) == 7
    # Twice as many updates: the published 44 is our 88, 440 our 880, of which 870 is the nearest that was validated.
    assert [rows[place][-2:] for place in ("1", "44", "440", "938")] == [
        [f"{10 + at:.4f}", f"{20 + at:.4f}"] for at in (1, 88, 870, 1876)
    ]
    assert rows["484"][-2:] == ["", ""]  # our 968, and nothing was validated within 44 of it


@pytest.mark.parametrize(
    ("entered", "absent"), [((), "mainrun_baseline, adamw_gpt"), (("adamw_gpt",), "mainrun_baseline")]
)
def test_what_is_missing_is_said(entered, absent):
    text = section([record(name, [], 10) for name in entered])
    assert f"Not entered yet: {absent}." in text


def test_a_metric_that_a_run_did_not_compute_is_left_out():
    _, rows = rows_of(
        section([record("mainrun_baseline", [{"update": 9, "mainrun_loss": None, "nats_per_char": 2.0}], 9)])
    )
    assert rows["938"][-2:] == ["", "2.0000"]


def test_a_run_is_kept_with_what_both_metrics_gave_on_the_way(tmp_path):
    (tmp_path / "metrics.csv").write_text(f"step,{HEADLINE.name},val/mainrun_loss\n9,2.0,\n10,,\n19,1.5,1.25\n")
    assert validations(tmp_path) == [
        {"update": 10, "nats_per_char": 2.0, "mainrun_loss": None},
        {"update": 20, "nats_per_char": 1.5, "mainrun_loss": 1.25},
    ]
