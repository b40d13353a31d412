"""What this machine offers to training: processor, GPUs, rates, attention kernels, disk, versions, keys.

Everything is looked at or measured here and now; nothing is changed, and no secret is shown.
"""

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from frontpage.command.errors import BadValue
from frontpage.machine.compiler import NotCompiled, compiler
from frontpage.machine.flops import measure_matmul_peak
from frontpage.machine.peak_memory import GIB
from frontpage.machine.precision import best_precision
from frontpage.machine.processor import output, processor_features, processor_name

KEYS = ("WANDB_API_KEY", "HF_TOKEN")
PACKAGES = (
    "torch",
    "lightning",
    "hydra-core",
    "optuna",
    "tokenizers",
    "datasets",
    "wandb",
    "tensorboard",
    "matplotlib",
)
KERNELS = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def examine(log_dir: Path, batch_size: int, n_head: int, block_size: int, head_width: int) -> dict[str, Any]:
    """All of it; the sizes are those of the attention to try."""
    device_type = next(
        name
        for name, there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        )
        if there
    )
    device = torch.device(device_type)
    precision, reason = best_precision(device_type)
    shape = (batch_size, n_head, block_size, head_width)
    return {
        "processor": {
            "name": processor_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "features": processor_features(),
        },
        "gpus": gpus(),
        "device": device_type,
        "matmul_flops": {name: measure_matmul_peak(device, dtype) for name, dtype in DTYPES.items()},
        "attention": {"shape": list(shape), "kernels": attention_kernels(device, shape)},
        "precision": {"auto": precision, "reason": reason},
        "compiler": cpp_compiler(),
        "disk": disk(log_dir),
        "versions": versions(),
        "keys": {name: bool(os.environ.get(name)) for name in KEYS},
    }


def versions() -> dict[str, str | None]:
    """Of Python and PACKAGES; PyTorch's with its build, as in 2.13.0+cpu, which the package's own may leave out."""
    found = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    return found | {"torch": torch.__version__}


def cpp_compiler() -> dict[str, str | None]:
    """`name`, of the C++ compiler that calls itself so, or the `problem`."""
    try:
        command = compiler()
    except NotCompiled as error:
        return {"name": None, "problem": str(error)}
    said = output(*command, "--version").splitlines()
    return {"name": said[0], "problem": None} if said else {"name": None, "problem": f"{command[0]} does not answer"}


def gpus() -> list[dict[str, Any]]:
    """Each CUDA device with its free and whole memory in bytes, and the programs that hold memory on it.

    The programs are those that nvidia-smi tells of; in a container it may know of none.
    """
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        uuid = str(torch.cuda.get_device_properties(index).uuid)
        found.append(
            {"name": torch.cuda.get_device_name(index), "free_bytes": free, "bytes": total, "held_by": holders(uuid)}
        )
    return found


def holders(uuid: str) -> list[str]:
    """`process id name memory` of every program on the GPU `uuid`."""
    listed = output("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name,used_memory", "--format=csv,noheader")
    rows = [[part.strip() for part in line.split(",")] for line in listed.splitlines()]
    return [" ".join(row[1:]) for row in rows if len(row) == 4 and row[0].removeprefix("GPU-") == uuid]


def check_free_memory(found: list[dict[str, Any]], least: float) -> None:
    """Raise a UserError unless the first of `found`, the GPU that one device trains on, has `least` GiB free."""
    if not bool(found):
        raise BadValue("--free-gpu", least, "there is no GPU that CUDA knows")
    gpu = found[0]
    free, held = gpu["free_bytes"] / GIB, ", ".join(gpu["held_by"]) or "nobody that nvidia-smi knows"
    if free < least:
        raise BadValue("--free-gpu", least, f"{gpu['name']} has {free:.1f} GiB free; memory is held by {held}")


def attention_kernels(device: torch.device, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Each fused kernel of PyTorch, tried forward and backward, causal: milliseconds, or why it does not run."""
    rows = []
    for name, dtype in DTYPES.items():
        for kernel in KERNELS:
            row: dict[str, Any] = {"dtype": name, "kernel": kernel.name.lower(), "milliseconds": None, "problem": None}
            try:
                row["milliseconds"] = _time_attention(device, dtype, shape, kernel)
            except RuntimeError as error:  # not built in, or not for these sizes
                problem = str(error).splitlines()[0].rstrip(".")
                row["problem"] = "not here: " + (
                    "no such kernel for these" if "No viable backend" in problem else problem
                )
            rows.append(row)
    return rows


def disk(folder: Path) -> dict[str, Any]:
    """Free and whole bytes of the disk that `folder` lies on, or will."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    usage = shutil.disk_usage(there)
    return {"folder": str(folder), "free_bytes": usage.free, "bytes": usage.total}


def _time_attention(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], kernel: SDPBackend) -> float:
    """Milliseconds of the best of four forward and backward passes; of fewer where they take a second or more."""
    own = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype, generator=own).requires_grad_() for _ in range(3))
    best, began = float("inf"), time.perf_counter()
    for _ in range(4):
        if time.perf_counter() - began > 1:
            break
        _wait(device)
        start = time.perf_counter()
        with sdpa_kernel(kernel):
            F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
