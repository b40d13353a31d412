"""The name of what a run computes on."""

import platform
import sys
from pathlib import Path

import torch


def processor_name(device: torch.device) -> str:
    """Of the GPU, or of the CPU as its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
