"""Memory of this process or its GPU: what was used, and an estimate of what a run will use."""

import copy
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from frontpage.losses import next_token_loss
from frontpage.notices import notice

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


def estimate_training_bytes(
    net: nn.Module, optimizer_states: int, batch_size: int, block_size: int, document_mask: bool
) -> int | None:
    """Weights, gradients, `optimizer_states` fp32 numbers a weight, and what one fp32 step saves for its backward pass.

    Counted on PyTorch's meta device, without computing. None, and a notice, where an operator has no meta form.
    """
    weights = sum(parameter.numel() * 4 for parameter in net.parameters())
    try:
        saved = _saved_bytes(_without_data(net), batch_size, block_size, document_mask)
    except (NotImplementedError, RuntimeError) as error:
        notice(f"no memory estimate: {type(error).__name__} on the meta device: {str(error).splitlines()[0]}")
        return None
    return weights * (2 + optimizer_states) + saved


def _without_data(net: nn.Module) -> nn.Module:
    """A copy on the meta device; no weight is copied on the way."""
    stand_ins: dict[int, Tensor] = {id(p): nn.Parameter(p.detach().to("meta")) for p in net.parameters()}
    stand_ins |= {id(buffer): buffer.to("meta") for buffer in net.buffers()}
    return copy.deepcopy(net, stand_ins)


def _saved_bytes(net: nn.Module, batch_size: int, block_size: int, document_mask: bool) -> int:
    weights = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    tokens = torch.zeros(batch_size, block_size, dtype=torch.int64, device="meta")
    context = (tokens, tokens) if document_mask else (None, None)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = next_token_loss(net.hidden(tokens, *context), net.head.weight, tokens)
    del loss
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _status_bytes(name: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _peak_resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux
