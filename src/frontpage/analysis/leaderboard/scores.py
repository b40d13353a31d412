"""KeptScores: the nats of each validation title, small enough to be kept beside run.json."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frontpage.analysis.comparison import TitleNats
from frontpage.command.disk_full import replacing
from frontpage.command.errors import BadValue
from frontpage.evaluation.metrics import ratio_with_error


@dataclass(frozen=True)
class KeptScores:
    """Nats and characters of titles in the order of their hashes, (titles,) float64, and what tells the set apart."""

    titles: str  # digest of the hashes
    nll: Tensor
    characters: Tensor

    @classmethod
    def of(cls, hashes: np.ndarray, nll: Tensor, characters: Tensor) -> "KeptScores":
        """Of titles by the hash of each, (titles,) uint64, in any order."""
        order = np.argsort(hashes)
        digest = hashlib.sha256(hashes[order].astype("<u8").tobytes()).hexdigest()
        return cls(digest, nll[order].float().double(), characters[order].double())

    @classmethod
    def of_run(cls, nats: TitleNats) -> "KeptScores":
        """Of what a run's best checkpoint has scored."""
        return cls.of(nats.hashes, nats.nll, nats.characters)

    @property
    def value(self) -> tuple[float, float]:
        """(`val/nats_per_char`, its standard error over titles)."""
        return ratio_with_error(self.nll, self.characters)

    def less(self, other: Tensor) -> tuple[float, float]:
        """(these less `other` nats of the same titles, the standard error of pairs), nats a character."""
        return ratio_with_error(self.nll - other, self.characters)

    def save(self, path: Path) -> None:
        """Write nats as float32 and characters as uint32, compressed."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                titles=np.array(self.titles),
                nll=self.nll.numpy().astype("<f4"),
                characters=self.characters.numpy().astype("<u4"),
            )


def load_scores(path: Path) -> KeptScores:
    """What `save` wrote; UserError where it is not there or damaged."""
    try:
        with np.load(path) as file:
            titles, nll, characters = str(file["titles"]), file["nll"], file["characters"]
        if not (nll.shape == characters.shape and nll.ndim == 1 and len(nll)):
            raise ValueError("not one number a title")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadValue("record", path, f"the scores cannot be read ({error})") from error
    return KeptScores(titles, torch.from_numpy(nll.astype("f8")), torch.from_numpy(characters.astype("f8")))
