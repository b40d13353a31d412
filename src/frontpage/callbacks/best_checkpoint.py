"""BestCheckpoint: Lightning's ModelCheckpoint, which finds its file again where a run's directory was moved."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from frontpage.notices import notice


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation; the score that it must beat goes into checkpoints.

    Lightning forgets that score in a directory of another name, so a worse checkpoint would replace the best one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an earlier session's; where the best file is not here, look for the best anew, and say so."""
        best = state_dict["best_model_path"]
        if best and not Path(self.dirpath, Path(best).name).is_file():
            notice(f"{self.dirpath} holds no {Path(best).name}: the best checkpoint is that of the validations to come")
            return
        here = {name: self._here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path")}
        scores = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | here | {"best_k_models": scores, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath, Path(path).name)) if path else path
