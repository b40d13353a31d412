"""What a forward and a backward pass cost beside another one: bytes kept between the two, and time."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor


def saved_bytes(run: Callable[[], Tensor], without: Iterable[Tensor] = ()) -> int:
    """Bytes that the forward pass of `run` keeps for its backward pass, each storage once, weights `without`."""
    known = {tensor.untyped_storage().data_ptr() for tensor in without}
    kept: dict[int, Tensor] = {}  # the tensors stay alive, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in known:
            kept.setdefault(address, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def processor_seconds(runs: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """The median processor time of each of `runs`, which take turns; of all threads of this process, on a CPU only.

    Other programs slow the wall clock down many times, but they do not count here; caches that they fill do.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn >= warm_up:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
