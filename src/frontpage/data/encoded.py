"""Titles as one flat array of token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

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
    pieces = [*_pieces(tokenizer, titles)]
    tokens = np.concatenate([np.empty(0, dtype=token_type(tokenizer)), *(tokens for tokens, _ in pieces)])
    return EncodedTitles(tokens, _offsets([lengths for _, lengths in pieces]))


def write_encoded(tokenizer: TitleTokenizer, titles: Sequence[str], tokens_file: Path, offsets_file: Path) -> None:
    """Write what `encode_titles` gives as NumPy files, of which no more than a piece is in memory; UserError as there.

    The files are those of `numpy.save`, byte for byte.
    """
    lengths, count = [], 0
    with tokens_file.open("wb") as file:
        begin = _write_header(file, token_type(tokenizer), 0)
        for piece, of_each in _pieces(tokenizer, titles):
            file.write(piece.data)
            lengths.append(of_each)
            count += len(piece)
        file.seek(0)
        if _write_header(file, token_type(tokenizer), count) != begin:
            raise AssertionError("the header of a NumPy file has no room for the number of its tokens")
    np.save(offsets_file, _offsets(lengths))


def _write_header(file: BinaryIO, kind: type[np.unsignedinteger], count: int) -> int:
    """Begin a NumPy file of `count` numbers, and tell how many bytes that took."""
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()


def _pieces(tokenizer: TitleTokenizer, titles: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(tokens, tokens of each) of some titles after others, each closed with `<eos>`."""
    starts = range(0, len(titles), AT_ONCE)
    pieces = (titles[start : start + AT_ONCE] for start in starts)
    for piece in watched(pieces, "encoding titles", [min(AT_ONCE, len(titles) - start) for start in starts]):
        encoded = tokenizer.encode_batch(piece)
        tokenizer.check_lossless(piece, encoded)
        for ids in encoded:
            ids.append(tokenizer.eos_id)
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
        yield np.fromiter(chain.from_iterable(encoded), token_type(tokenizer), int(lengths.sum())), lengths


def _offsets(lengths: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)


def token_type(tokenizer: TitleTokenizer) -> type[np.unsignedinteger]:
    """The smallest type that holds its tokens: uint16 or uint32."""
    return np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
