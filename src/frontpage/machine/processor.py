"""The name of what a run computes on, and what it can."""

import platform
import subprocess
import sys
from pathlib import Path

import torch

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")  # of x86 and of ARM
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


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


def processor_features() -> list[str]:
    """Those of FEATURES that the processor has, as the system reports them; none where it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
        if sys.platform == "darwin":
            lines = output("sysctl", "-a").splitlines()
            text = "\n".join(line for line in lines if not line.endswith(": 0"))
            text = text.replace("hw.optional.arm.FEAT_", " ").replace(": 1", " ").lower()
    words = {*text.replace(":", " ").split()}
    return [name for name in FEATURES if name in words]


def has_bf16_instructions() -> bool | None:
    """Whether the processor computes in bf16; None where the system does not say what it has."""
    found = processor_features()
    return bool(BF16 & {*found}) if found else None


def output(*words: str) -> str:
    """What a program prints; nothing where it is not there or fails."""
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout if ended.returncode == 0 else ""
