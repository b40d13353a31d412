"""Which precision is fastest on a device, and which it has."""

import functools
from pathlib import Path

import torch

from frontpage.errors import bad_value
from frontpage.flops import measure_matmul_peak
from frontpage.notices import notice
from frontpage.run_record import read_record

WORTH_IT = 1.2  # bf16 products this many times as fast as fp32 ones, or fp32 stays


@functools.cache
def best_precision(device_type: str) -> tuple[str, str]:
    """(Lightning's `precision`, why) for `cpu`, `cuda` or `mps`.

    A CPU's is measured: with bf16 instructions and without matrix units, bf16 products can be slower than fp32 ones.
    """
    if device_type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "this GPU computes in bf16"
        return "32-true", "this GPU has no bf16"
    if device_type != "cpu":
        return "32-true", f"bf16 was not measured on {device_type}"
    half, single = (measure_matmul_peak(torch.device("cpu"), kind) for kind in (torch.bfloat16, torch.float32))
    measured = f"bf16 matrix products are {half / single:.1f} times as fast as fp32 ones on this processor"
    return ("bf16-mixed" if half >= WORTH_IT * single else "32-true"), measured


def settle_precision(asked: str | int, device_type: str, directory: Path | str | None = None) -> str | int:
    """The precision of a run on `device_type`, `auto` being resolved and said; UserError for one that is not there.

    A run that continues in `directory` keeps the precision that its `run.json` names.
    """
    if str(asked) == "auto":
        before = _recorded(Path(directory)) if directory is not None else None
        if before is not None:
            return before
        chosen, why = best_precision(device_type)
        notice(f"trainer.precision=auto: {chosen}, since {why}")
        return chosen
    if device_type == "cpu" and str(asked) in ("16-mixed", "16", "16-true"):
        raise bad_value("trainer.precision", asked, "a CPU has: auto 32-true bf16-mixed bf16-true")
    if device_type == "cuda" and str(asked).startswith("bf16") and not torch.cuda.is_bf16_supported():
        raise bad_value("trainer.precision", asked, "this GPU has no bf16: auto 32-true 16-mixed")
    return asked


def _recorded(directory: Path) -> str | None:
    return (read_record(directory) or {}).get("precision")
