"""Minimal pairs: of two texts that differ in one thing, which one does a model find likelier?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from frontpage.command.errors import BadValue, local_path
from frontpage.evaluation.pairs import mean_with_error, share_with_error
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.recipe.language_module import LanguageModule


@dataclass(frozen=True)
class Contrast:
    """P pairs of texts and their nats, each (P,) float64."""

    pairs: Sequence[tuple[str, str]]
    right: torch.Tensor  # of the texts that should be likelier
    wrong: torch.Tensor

    def summary(self) -> dict[str, float]:
        """`accuracy`: the share of pairs whose right text has fewer nats; `difference`: nats of wrong less right."""
        accuracy, accuracy_error = share_with_error(self.right < self.wrong)
        difference, difference_error = mean_with_error(self.wrong - self.right)
        return {
            "accuracy": accuracy,
            "accuracy_se": accuracy_error,
            "difference": difference,
            "difference_se": difference_error,
        }


def read_pairs(path: str) -> list[tuple[str, str]]:
    """The pairs of a file, two texts a line with a tab between, the right one first; BadValue for another form."""
    file = local_path(path, "pairs")
    if not file.is_file():
        raise BadValue("pairs", path, "a file of lines `right<tab>wrong`")
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadValue("pairs", path, f"not UTF-8 (byte {error.start})") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2 or not all(cells) or cells[0] == cells[1]:
            raise BadValue("pairs", path, f"line {number} is not two different texts with a tab between")
        pairs.append((cells[0], cells[1]))
    if not pairs:
        raise BadValue("pairs", path, "it holds no pairs")
    return pairs


def contrast(module: LanguageModule, pairs: Sequence[tuple[str, str]], config: DictConfig) -> Contrast:
    """Score both texts of each pair whole, their ends included."""
    scored = ScoredTitles(module, [text for pair in pairs for text in pair], config.data, watch="scoring")
    nats = scored.nll.view(-1, 2)
    return Contrast(list(pairs), nats[:, 0], nats[:, 1])
