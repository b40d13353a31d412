"""RandomState: dropout after a resume goes on where it stopped."""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


class RandomState(L.Callback):
    """Keeps the state of the random generators of PyTorch (CPU and CUDA), NumPy and Python in checkpoints."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators' states as tensors and plain numbers, which load without running code."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        name, words, *place = np.random.get_state()
        numpy = (name, torch.from_numpy(words.astype(np.int64)), *place)
        return {"cpu": torch.get_rng_state(), "cuda": cuda, "numpy": numpy, "python": random.getstate()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts: what lies between may draw numbers."""
        self._loaded = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the generators back."""
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            if self._loaded["cuda"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in self._loaded["cuda"]])
            name, words, *place = self._loaded["numpy"]
            np.random.set_state((name, words.numpy().astype(np.uint32), *place))
            random.setstate(self._loaded["python"])
            self._loaded = None
