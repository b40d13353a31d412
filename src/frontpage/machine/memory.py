"""How much memory a process on this machine can have, and how much of it is free."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

MEMORY = Path("/proc/meminfo")
GIVEN_BACK = ("inactive_file", "active_file", "slab_reclaimable")  # what MemAvailable counts as free, too
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # of a container or a job of Slurm, on Linux


def machine_memory() -> int:
    """Bytes that a process can have at most: memory and swap, or the limit of its container or job."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        return 2 * there  # it makes swap as it needs it
    return min([there + (_of_system("SwapTotal") or 0), *(limit for limit, _ in _limits())])


def free_bytes(device: torch.device) -> int:
    """Bytes that are free: of the GPU, or of the machine and of the process's limit there, all where none is told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _of_system("MemAvailable")
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if free is None else free
    return min([there, *(max(limit - used, 0) for limit, used in _limits())])


def _of_system(name: str) -> int | None:
    """A line of Linux's /proc/meminfo, in bytes; None where there is none."""
    with contextlib.suppress(OSError):
        lines = MEMORY.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
    return None


def _limits() -> Iterator[tuple[int, int]]:
    """(limit, bytes in use that cannot be given back) of each control group, version 2, that the process is in."""
    own = ""
    with contextlib.suppress(OSError):
        lines = OWN_GROUP.read_text(encoding="utf-8").splitlines()
        own = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
    for folder in (GROUPS / own, *(GROUPS / own).parents):
        if not folder.is_relative_to(GROUPS):
            return
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            limit = int((folder / "memory.max").read_text())
            yield limit, _used(folder)


def _used(folder: Path) -> int:
    """Bytes of a control group without what it would give back: pages of files, and the kernel's own caches."""
    used, stat = int((folder / "memory.current").read_text()), (folder / "memory.stat").read_text()
    sizes = dict(line.split()[:2] for line in stat.splitlines() if line.strip())
    return used - sum(int(sizes.get(name, 0)) for name in GIVEN_BACK)
