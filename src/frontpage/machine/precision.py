"""Which precision is fastest on a device, and which it has."""

import functools
import os

import torch

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.command.process_family import launched
from frontpage.machine.flops import measure_matmul_peak
from frontpage.machine.processor import has_bf16_instructions, processor_name

WORTH_IT = 1.2  # bf16 products this many times as fast as fp32 ones, or fp32 stays
MEASURED = "FRONTPAGE_BF16_GAIN"  # what a process measured; those that it starts inherit it, and so choose alike


@functools.cache
def best_precision(device_type: str) -> tuple[str, str]:
    """(Lightning's `precision`, why) for `cpu`, `cuda` or `mps`.

    A CPU's is measured where it has bf16 instructions: without matrix units bf16 products can be the slower ones.
    """
    if device_type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "this GPU computes in bf16"
        return "32-true", "this GPU has no bf16"
    if device_type != "cpu":
        return "32-true", f"bf16 was not measured on {device_type}"
    launch = launched()
    if launch is not None and launch.processes > 1:  # two timings may differ, and the processes of a run must not
        return "32-true", f"the processes of {launch.by} would each measure their CPU"
    return ("bf16-mixed" if bf16_is_fast()[0] else "32-true"), bf16_is_fast()[1]


@functools.cache
def bf16_is_fast() -> tuple[bool, str]:
    """(Whether this CPU's bf16 products are clearly faster than fp32 ones, why); a third of a second at most."""
    if has_bf16_instructions() is False:
        return False, "this processor has no bf16 instructions"
    before, _, where = os.environ.get(MEASURED, "").partition(" ")
    here = processor_name(torch.device("cpu"))
    if not before or where != here:  # a job of a cluster may run on another processor than what has sent it
        half, single = (measure_matmul_peak(torch.device("cpu"), kind) for kind in (torch.bfloat16, torch.float32))
        before = f"{half / single:.2g}"
        os.environ[MEASURED] = f"{before} {here}"
    ratio = float(before)
    return ratio >= WORTH_IT, f"bf16 matrix products are {ratio:g} times as fast as fp32 ones on this processor"


def product_type(precision: str) -> torch.dtype:
    """The type in which a run under Lightning's `precision` multiplies."""
    kinds = {"64": torch.float64, "32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
    return kinds[str(precision).partition("-")[0]]


def settle_precision(asked: str | int, device_type: str, before: str | None = None) -> str | int:
    """The precision of a run on `device_type`, `auto` being resolved and said; UserError for one that is not there.

    A run that is continued keeps the precision that it had `before`.
    """
    if str(asked) == "auto":
        if before is not None and what_lacks(before, device_type) is None:
            return before
        chosen, why = best_precision(device_type)
        notice(f"trainer.precision=auto: {chosen}, since {why}")
        return chosen
    lacking = what_lacks(asked, device_type)
    if lacking:
        raise BadValue("trainer.precision", asked, lacking)
    return asked


def what_lacks(asked: str | int, device_type: str) -> str | None:
    """What a device has in place of a precision that it lacks, in words; None where it has that."""
    if device_type == "cpu" and str(asked) in ("16-mixed", "16", "16-true"):
        return "a CPU has: auto 32-true 64-true bf16-mixed bf16-true"
    if device_type == "cuda" and str(asked).startswith("bf16") and not torch.cuda.is_bf16_supported():
        return "this GPU has no bf16: auto 32-true 64-true 16-mixed 16-true"
    if device_type == "mps" and str(asked) in ("64-true", "64"):
        return "an Apple GPU has no fp64: auto 32-true 16-mixed bf16-mixed"
    return None
