"""RandomState: dropout after a resume goes on where it stopped."""

from typing import Any

import lightning as L
import torch


class RandomState(L.Callback):
    """Keeps the state of PyTorch's random generators, CPU and CUDA, in checkpoints."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators' states as byte tensors."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts: what lies between may draw numbers."""
        self._loaded = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the generators back."""
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            if self._loaded["cuda"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in self._loaded["cuda"]])
            self._loaded = None
