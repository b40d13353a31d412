"""Promises of the chaos script: it strikes where it says, and what it attacks survives."""

import json
import os
import subprocess
import sys

import pytest
from tiny import ROOT

PROGRAM = """
import os
for name in "abc":
    try:
        with open(f"{name}.partial", "w") as file:
            file.write(name)
        os.replace(f"{name}.partial", name)
    except OSError as error:
        print("refused:", error.errno, name)
        if os.path.exists(f"{name}.partial"):
            os.unlink(f"{name}.partial")
"""


@pytest.fixture
def strike(tmp_path):
    """strike(kind, moment) runs a program of six calls that change the disk; its status, output, and the files left."""
    (tmp_path / "program.py").write_text(PROGRAM)
    place = tmp_path / "place"
    place.mkdir()

    def run(*disaster):
        words = [sys.executable, "-m", "frontpage.machine.chaos", *map(str, disaster), str(tmp_path / "program.py")]
        ended = subprocess.run(words, cwd=place, capture_output=True, text=True)
        return ended.returncode, ended.stdout, sorted(os.listdir(place))

    return run


def test_it_counts_the_calls_that_change_the_disk(strike):
    assert strike("count", 0) == (0, "chaos calls: 6\n", ["a", "b", "c"])


def test_it_kills_before_the_call_that_is_named(strike):
    assert strike("kill", 4) == (-9, "", ["a", "b.partial"])


def test_a_full_disk_refuses_the_call_and_those_behind_it(strike):
    status, output, left = strike("full", 3)
    assert (status, left) == (0, ["a"]) and output.count("refused: 28") == 2


def test_a_full_disk_lets_what_is_half_written_be_removed(strike):
    status, output, left = strike("full", 4)
    assert (status, left) == (0, ["a"]) and output.count("refused: 28") == 2


@pytest.mark.slow
def test_a_few_attacks_lose_nothing(tmp_path):
    """The script itself, on a cache build, which is the quickest of its targets."""
    words = [
        sys.executable,
        "scripts/chaos.py",
        "--attacks",
        "3",
        "--only",
        "cache",
        "--json",
        tmp_path / "result.json",
    ]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    attacks = json.loads((tmp_path / "result.json").read_text())["attacks"]
    assert len(attacks) == 3 and all(one["lost"] == [] for one in attacks)
