"""Memory that this process or its GPU really used."""

import resource
import sys
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_start: int | None = None


def start_counting(device: torch.device) -> None:
    """Peaks from now on are counted from here: resident memory on CPU, the allocator's peak on CUDA."""
    global _start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        _RESET.write_text("5")  # Linux: forget the process's earlier peak
    except OSError:
        pass
    _start = _status_bytes("VmRSS") or _peak_resident()


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since `start_counting`: the allocator's on CUDA, the rise of resident memory elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return max((_status_bytes("VmHWM") or _peak_resident()) - (_start or 0), 0)


def current_memory(device: torch.device) -> int | None:
    """Bytes now, counted as `peak_memory` does; None where the system does not say (macOS, for the CPU)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    resident = _status_bytes("VmRSS")
    return max(resident - (_start or 0), 0) if resident else None


def _status_bytes(name: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _peak_resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux


def in_words(number: float) -> str:
    """Bytes in a fitting unit, e.g. `11.4 MiB`."""
    return f"{number / GIB:.2f} GiB" if number >= GIB else f"{number / 2**20:.1f} MiB"


GIB = 2**30
