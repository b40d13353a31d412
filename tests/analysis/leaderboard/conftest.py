"""What the tests of the leaderboard share: runs of a tiny experiment, an empty board, and its scripts."""

import json

import pytest
from leaderboards import train_record
from programs import run_script

from frontpage.analysis.leaderboard import excerpt, page, records
from frontpage.analysis.leaderboard.tracks import TRACKS, Track

WIDE = "model.d_model=20"
ABOUT = ("--about", "Nothing\nbut a test.")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs of one experiment by seed; "again" has the first one's, and so has "wide", which changes it."""
    folder = tmp_path_factory.mktemp("runs")
    found = {seed: train_record(folder, seed) for seed in (1, 2)}
    found["wide"] = train_record(folder, 1, WIDE)
    return found | {"again": train_record(folder, 1, "log_interval=5"), "folder": folder}


@pytest.fixture
def board(tmp_path, monkeypatch):
    """The folder of an empty leaderboard, which has a track `tiny` of 120 titles."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(page, "PAGE", tmp_path / "leaderboard.md")
    monkeypatch.setattr(excerpt, "README", tmp_path / "README.md")
    marks = "<!-- leaderboard: written by scripts/leaderboard.py -->\n<!-- leaderboard ends -->"
    (tmp_path / "README.md").write_text(f"# Before\n\n{marks}\n\nAfter.\n")
    monkeypatch.setitem(TRACKS, "tiny", Track("tiny", "Tiny", "As small as can be.", titles=120))
    return tmp_path


@pytest.fixture
def enter(board, runs, capfd):
    """enter("tiny", [1, 2]) enters runs, how it ended."""

    def entered(track, seeds, *words, name="first", about=ABOUT):
        arguments = ["--add", *(runs[seed] if seed in runs else seed for seed in seeds), "--name", name]
        configs = ["--config-dir", runs["folder"] / "configs"]
        return run_script(capfd, "leaderboard", *arguments, "--track", track, *about, *configs, *words)

    return entered


@pytest.fixture
def verify(board, runs, capfd, tmp_path):
    """verify("first", "--run", run): (how it ended, the result)."""

    def verified(*words):
        output = tmp_path / "verdict.json"
        configs = ["--config-dir", runs["folder"] / "configs", "--json", output]
        ended = run_script(capfd, "verify_record", *words, *configs)
        return ended, json.loads(output.read_text()) if output.exists() else None

    return verified
