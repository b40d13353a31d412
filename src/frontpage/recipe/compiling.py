"""Whether `torch.compile` is worth its start-up time (`model.compile=auto`), and whether it can run."""

import importlib.util
import sys

import torch

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.machine.compiler import NotCompiled, compiler

AUTO = "auto"
OLDEST = (7, 0)  # compute capability that Triton makes kernels for


def worth_compiling(device: torch.device) -> bool:
    """Whether to compile a training step for `device`: on CUDA, where Triton can; what is decided there is said."""
    if device.type != "cuda":
        return False
    if importlib.util.find_spec("triton") is None:
        notice("model.compile=auto: not compiled, since Triton is not installed")
        return False
    if torch.cuda.get_device_capability(device) < OLDEST:
        notice("model.compile=auto: not compiled, since Triton has no kernels for a GPU as old as this")
        return False
    notice("model.compile=auto: the first step compiles the net, which takes a while; model.compile=false does not")
    return True


def check_compiles(device: torch.device) -> None:
    """Raise a UserError where `model.compile=true` lacks the C++ compiler that it calls on a CPU."""
    if device.type != "cpu" or sys.platform == "win32":  # where it calls another
        return
    try:
        compiler()
    except NotCompiled as error:
        raise BadValue("model.compile", True, f"{error}; false or auto") from error
