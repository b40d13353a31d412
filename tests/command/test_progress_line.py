"""Promises of long work: a plain line now and then says how far it is, and each part's seconds are added up."""

import contextlib
import os
import pty
import sys

import pytest

from frontpage.command.part_times import PartTimes
from frontpage.command.progress_line import SAID_EVERY, ProgressLine, watched


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_plain_line_every_ten_seconds_says_how_far_the_work_is(capsys):
    clock = Clock()
    line = ProgressLine("scoring", 40, clock)
    for _ in range(10):
        clock.now += SAID_EVERY / 2
        line.advance(4)
    line.close()
    assert capsys.readouterr().out.splitlines() == [
        "scoring: 20%, about 40 s left",
        "scoring: 40%, about 30 s left",
        "scoring: 60%, about 20 s left",
        "scoring: 80%, about 10 s left",
    ]  # and not one at the end, nor a letter that moves a cursor


def all_of(terminal):
    """What was written to a terminal whose other end is closed; it comes in pieces."""
    found = b""
    with contextlib.suppress(OSError):  # how Linux says that there is no more
        while piece := os.read(terminal, 65536):
            found += piece
    os.close(terminal)
    return found.decode()


def test_a_terminal_has_a_bar_that_is_taken_away(monkeypatch):
    """Its name stands as it is, though rich has a language of its own for what is in brackets."""
    monkeypatch.setenv("TERM", "xterm-256color")
    here, there = pty.openpty()
    with open(there, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        line = ProgressLine("[red]3 [tokens]", 4)
        line.advance(1)
        line.close()
    shown = all_of(here)
    assert "[red]3 [tokens]" in shown and "25%" in shown
    assert shown.rstrip().endswith("\033[2K") and "\033[?25h" in shown  # the line is empty, the cursor there


def test_watched_pieces_come_whole_and_a_lacking_one_is_no_end(capsys):
    assert list(watched("abc", "letters", [1, 2, 3])) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="longer"):
        list(watched("ab", "letters", [1, 2, 3]))


def test_the_seconds_of_a_part_are_added_up():
    clock = Clock()
    times = PartTimes(clock)
    for seconds in (1.5, 2.0):
        with times.part("scoring"):
            clock.now += seconds
    with pytest.raises(RuntimeError), times.part("reading"):
        clock.now += 0.25
        raise RuntimeError
    assert times.seconds == {"scoring": 3.5, "reading": 0.25}
    assert str(times) == "seconds: scoring 3.5, reading 0.2"
