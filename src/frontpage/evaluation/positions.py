"""Nats a character by position in the document: what a model makes of the context that it has by then."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontpage.data.encoded import EncodedTitles
from frontpage.data.text_sizes import EOS_CHARACTERS, TextSizes
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.averaged import token_nats
from frontpage.evaluation.metrics import CoverageError, ratio_with_error
from frontpage.evaluation.scored_titles import ScoringSettings
from frontpage.evaluation.scorer import Scorer


@dataclass(frozen=True)
class PositionRow:
    """The tokens with `first` or more, and fewer than `end`, tokens of their document before them.

    `nats_per_char_se` is the standard error over documents, None where one alone is so long. `nats_per_char` is None
    where the tokens have no characters of their own, as the blank with which a title of bytes begins.
    """

    first: int
    end: int
    documents: int  # that have such tokens
    tokens: int
    characters: int
    nats: float
    nats_per_char: float | None
    nats_per_char_se: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def nats_by_position(
    module: Scorer, encoded: EncodedTitles, sizes: TextSizes, settings: ScoringSettings, watch: str | None = None
) -> list[PositionRow]:
    """All documents scored as `ScoredTitles` does it: position 0, 1, 2 and 3, 4 to 7, and so on to the longest.

    Nats and characters, summed over all positions, are those of `val/nats_per_char`. Raises CoverageError where they
    would not be.
    """
    nats, scored = token_nats(module, encoded, settings, watch)
    if not bool((scored == sizes.tokens).all()):
        raise CoverageError("a document was not scored exactly once")
    characters = token_characters(module.tokenizer, encoded)
    if int(characters.sum()) != int(sizes.characters.sum()):
        raise CoverageError("the tokens have not as many characters as their titles")
    return binned(nats, characters, encoded.lengths)


def token_characters(tokenizer: TitleTokenizer, encoded: EncodedTitles) -> Tensor:
    """The characters that begin in each token, (tokens,) int64: 5 of `<eos>`, none of the blank before a title."""
    spelled = map(tokenizer.spelled, range(tokenizer.vocab_size))
    # Of the bytes of a character all but the first are 10xxxxxx.
    of_kind = np.array([sum(byte & 0xC0 != 0x80 for byte in letters) for letters in spelled])
    of_kind[tokenizer.eos_id] = EOS_CHARACTERS
    begins = np.concatenate(([True], encoded.tokens[:-1] == tokenizer.eos_id))
    return torch.from_numpy(of_kind[encoded.tokens] - begins)


def binned(nats: Tensor, characters: Tensor, lengths: Sequence[int] | np.ndarray) -> list[PositionRow]:
    """Sums by powers of two of the position, from the nats and characters (tokens,) of documents of these `lengths`."""
    lengths = np.asarray(lengths)
    documents = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(documents)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.frexp(positions)[1]  # 0 of 0, and n of 2^(n - 1) up to 2^n
    found = []
    for place in range(int(places.max()) + 1):
        there = np.flatnonzero(places == place)
        _, owners = np.unique(documents[there], return_inverse=True)
        owners, count = torch.from_numpy(owners), int(owners.max()) + 1
        sums = torch.zeros(count, dtype=torch.float64).index_add_(0, owners, nats[there].double())
        letters = torch.zeros(count, dtype=torch.float64).index_add_(0, owners, characters[there].double())
        ratio, error = ratio_with_error(sums, letters) if letters.sum() > 0 else (None, None)
        first, end = (2 ** (place - 1), 2**place) if place else (0, 1)
        about = (count, len(there), int(letters.sum()), float(sums.sum()))
        found.append(PositionRow(first, end, *about, ratio, error if count > 1 else None))
    return found
