"""Memory that is freed stays with the process, on CPU, so that a training step does not ask the system for it again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)
MOST_FROM_HEAP = 32 * 2**20  # bytes: the largest block that glibc lets come from its heap
SMALL = 8 * 2**20  # bytes: larger blocks go back to the system where memory is to be saved
KEPT = 2**31 - 1  # bytes of freed memory that go back to the system only beyond this


def keep_freed_memory(large: bool = True) -> bool:
    """Let glibc keep what tensors free, instead of page faults at each of the next step's; False where it is not glibc.

    Not `large`: blocks above 8 MiB go back at once. The heap then has no holes between large tensors, and a step waits
    for new pages. Left to itself glibc does neither: its own limit rises to 32 MiB with what is freed.

    Measured by scripts/benchmark_attention.py; the documentation has the numbers.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
        return False
    most = MOST_FROM_HEAP if large else SMALL
    return bool(libc.mallopt(M_MMAP_THRESHOLD, most) and libc.mallopt(M_TRIM_THRESHOLD, KEPT))
