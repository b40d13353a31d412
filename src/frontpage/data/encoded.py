"""Titles as one flat array of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frontpage.command.progress_line import watched
from frontpage.data.tokenizer import TitleTokenizer

AT_ONCE = 10_000  # titles, a second's work or less: how far it is can be said between two of them


@dataclass(frozen=True)
class EncodedTitles:
    """Title i is `tokens[offsets[i]:offsets[i + 1]]`; its last token is `<eos>`."""

    tokens: np.ndarray  # (tokens,) uint16 or uint32
    offsets: np.ndarray  # (titles + 1,) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each title, its `<eos>` counted: (titles,)."""
        return np.diff(self.offsets)


def encode_titles(tokenizer: TitleTokenizer, titles: Sequence[str]) -> EncodedTitles:
    """Encode each title and close it with `<eos>`; raises UserError for a title that does not come back exactly."""
    encoded: list[list[int]] = []
    pieces = [titles[start : start + AT_ONCE] for start in range(0, len(titles), AT_ONCE)]
    for piece in watched(pieces, "encoding titles", [len(piece) for piece in pieces]):
        encoded += tokenizer.encode_batch(piece)
        tokenizer.check_lossless(piece, encoded[-len(piece) :])
    offsets = np.zeros(len(titles) + 1, dtype=np.int64)
    np.cumsum([len(ids) + 1 for ids in encoded], out=offsets[1:])
    tokens = np.full(offsets[-1], tokenizer.eos_id, dtype=token_type(tokenizer))
    for start, ids in zip(offsets, encoded, strict=False):
        tokens[start : start + len(ids)] = ids
    return EncodedTitles(tokens, offsets)


def token_type(tokenizer: TitleTokenizer) -> type[np.unsignedinteger]:
    """The smallest type that holds its tokens: uint16 or uint32."""
    return np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
