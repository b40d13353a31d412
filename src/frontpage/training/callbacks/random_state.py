"""RandomState: dropout after a resume goes on where it stopped."""

import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

from frontpage.command.notices import notice
from frontpage.runs.structure import unlike


class RandomState(L.Callback):
    """Keeps the state of the random generators of PyTorch (CPU and CUDA), NumPy and Python in checkpoints.

    Of each process: those behind the first start at other numbers, so that they do not all drop the same.
    """

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators' states as tensors and plain numbers, which load without running code."""
        states = [generators()]
        if dist.is_available() and dist.is_initialized():
            own, states = states[0], [None] * dist.get_world_size()
            dist.all_gather_object(states, own)
        return {"processes": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts: what lies between may draw numbers."""
        self._loaded = state_dict.get("processes", [state_dict])

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """What of a checkpoint's state is not as this machine's generators have it; other GPUs may be there."""
        yield from unlike(saved, {"processes": []}, where)
        processes = saved.get("processes") if isinstance(saved, dict) else None
        if isinstance(processes, list) and not processes:
            yield f"{where}.processes is empty"
        for index, one in enumerate(processes if isinstance(processes, list) else []):
            yield from unlike(one, generators() | {"cuda": []}, f"{where}.processes.{index}")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the generators back, or apart."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None and len(loaded) == trainer.world_size:
            _set(loaded[trainer.global_rank])
            return
        if loaded is not None:
            notice(
                f"the checkpoint was written by {len(loaded)} processes: what is drawn, as in dropout, starts anew in "
                f"{trainer.world_size}"
            )
        if trainer.global_rank > 0:
            L.seed_everything(torch.initial_seed() + trainer.global_rank, verbose=False)


def generators() -> dict[str, Any]:
    """The states of this process's generators, as tensors and plain numbers."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    name, words, *place = np.random.get_state()
    numpy = (name, torch.from_numpy(words.astype(np.int64)), *place)
    return {"cpu": torch.get_rng_state(), "cuda": cuda, "numpy": numpy, "python": random.getstate()}


def _set(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"]:  # of all that were there, which may have been more than are now
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"][: torch.cuda.device_count()]])
    name, words, *place = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *place))
    random.setstate(state["python"])
