"""Promises about a disk that fills: status 1 and the file's name, and what lay there before is whole."""

import builtins
import errno
import io
import os
import pathlib

import numpy as np
import pytest
from programs import record_of
from tiny import TINY

from frontpage.command.disk_full import explain_full_disk, is_full, replacing, writing
from frontpage.command.endings import FAILURE

RUN = (*TINY, "val_interval=5", "log_interval=1")


class Filling:
    """A file whose disk has room for `room` more writes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __iter__(self):
        return iter(self._file)

    def write(self, content):
        self._room[0] -= 1
        if self._room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)


@pytest.fixture
def full(monkeypatch):
    """full("metrics.csv", 3): the fourth write to a file of that name, or to one that is to become it, has no room."""

    def fill(name, room):
        left, real = [room], io.open

        def opened(file, mode="r", *given, **options):
            found = real(file, mode, *given, **options)
            ours = os.path.basename(str(file)).removesuffix(".partial") == name and set(mode) & set("wax")
            return Filling(found, left) if ours else found

        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(pathlib.Path, "open", lambda path, *given, **options: opened(path, *given, **options))

    return fill


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("events.jsonl", 8),
        ("metrics.csv", 4),
        ("samples.txt", 1),
        pytest.param("run.json", 2, marks=pytest.mark.slow),
        ("config.yaml", 0),
        pytest.param("tokenizer.json", 0, marks=pytest.mark.slow),
        pytest.param("training_titles.npy", 0, marks=pytest.mark.slow),
        ("train_tokens.npy", 0),
    ],
)
def test_wherever_the_disk_fills_the_run_ends_with_status_1_and_leaves_nothing_half(
    command, tmp_path, monkeypatch, full, name, room
):
    directory = tmp_path / "run"
    full(name, room)
    outcome = command(*RUN, f"hydra.run.dir={directory}")
    monkeypatch.undo()
    assert outcome.status == FAILURE and "Traceback" not in outcome.stderr, outcome.stderr
    assert outcome.stderr.startswith("the disk is full: ") and str(tmp_path) in outcome.stderr
    assert not [*tmp_path.rglob("*.partial"), *tmp_path.rglob("*.building")]
    if name in ("events.jsonl", "metrics.csv", "samples.txt"):
        assert record_of(directory)["status"] == "interrupted"
    elif name == "run.json":
        assert record_of(directory)["status"] == "running"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError) as raised, replacing(path) as partial:
        partial.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_recognised_however_it_is_said():
    with pytest.raises(OSError) as plain, writing("/dev/full"), open("/dev/full", "w") as file:
        file.write("x" * 10**6)
    with pytest.raises(OSError) as numpy, writing("here"), open("/dev/full", "wb", buffering=0) as file:
        np.save(file, np.zeros(10**6))
    for raised, name in ((plain, "/dev/full"), (numpy, "here")):
        assert is_full(raised.value) and f"the disk is full: {name} was not written" in explain_full_disk(raised.value)
    assert not is_full(OSError(errno.EIO, "x")) and explain_full_disk(ValueError("x")) is None
    outer = RuntimeError("outer")
    outer.__cause__ = plain.value
    assert "/dev/full" in explain_full_disk(outer)
