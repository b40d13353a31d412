"""TextSizes: how long titles are, in characters, bytes and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EOS_CHARACTERS = 5  # the original counts "<eos>" as five characters; so do we, to stay comparable


@dataclass(frozen=True)
class TextSizes:
    """Length of each title, with its end: characters + 5, UTF-8 bytes + 1, tokens + 1; each (titles,) float64."""

    characters: Tensor
    bytes: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, titles: Sequence[str], tokens: Sequence[int]) -> "TextSizes":
        """Measure the titles; `tokens` holds the tokens of each, `<eos>` counted."""
        return cls(
            torch.tensor([len(title) + EOS_CHARACTERS for title in titles], dtype=torch.float64),
            torch.tensor([len(title.encode("utf-8")) + 1 for title in titles], dtype=torch.float64),
            torch.tensor(list(tokens), dtype=torch.float64),
        )

    def of_some(self, chosen: Tensor) -> "TextSizes":
        """Those of the titles that `chosen` picks, a mask (titles,) or indices."""
        return TextSizes(self.characters[chosen], self.bytes[chosen], self.tokens[chosen])
