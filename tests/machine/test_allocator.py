"""What the C library is told about freed memory."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from frontpage.machine.allocator import M_MMAP_THRESHOLD, keep_freed_memory


@pytest.mark.parametrize(("large", "mebibytes"), [(True, 32), (False, 8)])
def test_large_blocks_are_kept_or_go_back(monkeypatch, large, mebibytes):
    told = {}
    libc = SimpleNamespace(mallopt=lambda key, value: told.update({key: value}) or 1, gnu_get_libc_version=None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(sys, "platform", "linux")
    assert keep_freed_memory(large)
    assert told[M_MMAP_THRESHOLD] == mebibytes * 2**20


@pytest.mark.parametrize("large", [True, False])
def test_another_system_or_library_is_left_alone(monkeypatch, large):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory(large)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not keep_freed_memory(large)
