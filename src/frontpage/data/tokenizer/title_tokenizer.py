"""TitleTokenizer: what every tokenizer of this project promises, whichever algorithm made it."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from frontpage.command.disk_full import replacing
from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast
from frontpage.command.terminal import printable

PAD, EOS, UNK = SPECIAL_TOKENS = ("<pad>", "<eos>", "<unk>")
MASK = "<mask>"  # beside them where training hides tokens, the last of the vocabulary
BYTE_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())  # one printable character for each of the 256 bytes
# The byte behind each of them (GPT-2's `bytes_to_unicode`): printable ones stand for themselves.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}
LONGEST_WORD = 1000  # characters, in training
LONG_RUN = re.compile(rf"\S{{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}")
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + len(BYTE_ALPHABET)
# The trainer takes the memory for the largest at once, and ends the process where it cannot.
VocabularySize = Annotated[
    int, AtLeast(SMALLEST_VOCABULARY, 1_000_000, f"256 bytes and {len(SPECIAL_TOKENS)} special tokens")
]


class TitleTokenizer:
    """Lossless byte-level tokenizer of single titles over a `tokenizers.Tokenizer`.

    One blank is put before each title, so that its first word is spelled like any other, and taken off again by
    `decode`. Special tokens are never read out of a title: a title that contains the text `<eos>` spells it in bytes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True  # treat "<eos>" inside a title as plain text
        self._tokenizer = tokenizer
        self.pad_id, self.eos_id, self.unk_id = (tokenizer.token_to_id(token) for token in SPECIAL_TOKENS)
        self.mask_id: int | None = tokenizer.token_to_id(MASK)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the three special ones included."""
        return self._tokenizer.get_vocab_size()

    def add_mask(self) -> None:
        """Give it the token `<mask>`, behind all others, unless it has one."""
        if self.mask_id is None:
            self._tokenizer.add_special_tokens([MASK])
            self.mask_id = self._tokenizer.token_to_id(MASK)

    @property
    def never_written(self) -> list[int]:
        """The tokens that no text has: those for padding, for what is unknown, and for what is hidden."""
        return [one for one in (self.pad_id, self.unk_id, self.mask_id) if one is not None]

    def encode(self, title: str) -> list[int]:
        """Token ids of one title, without `<eos>`."""
        return self._tokenizer.encode(title, add_special_tokens=False).ids

    def encode_batch(self, titles: Sequence[str]) -> list[list[int]]:
        """Token ids of each title, without `<eos>`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(titles, add_special_tokens=False)]

    def words(self, title: str) -> list[str]:
        """The parts of a title in the byte alphabet, each of which is spelled by itself."""
        return [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(title)]

    def pieces(self) -> dict[str, tuple[int, float]] | None:
        """The token and the log probability of each piece of a unigram model; None for another model."""
        model = json.loads(self.to_json())["model"]
        if model["type"] != "Unigram":
            return None
        return {piece: (token, score) for token, (piece, score) in enumerate(model["vocab"]) if self.spelled(token)}

    def decode(self, ids: Sequence[int]) -> str:
        """The title that these ids spell; special tokens are left out, broken UTF-8 becomes U+FFFD."""
        return self._without_blank(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_batch(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The titles that these lists of ids spell."""
        texts = self._tokenizer.decode_batch([list(one) for one in ids], skip_special_tokens=True)
        return [self._without_blank(text) for text in texts]

    def token_bytes(self, token_id: int) -> str:
        """The printable spelling of one token in the byte alphabet, a blank shown as `Ġ`."""
        return self._tokenizer.id_to_token(token_id)

    def spelled(self, token_id: int) -> bytes:
        """The bytes of one token, which may be a part of a character; none for a special token."""
        special = token_id == self.eos_id or token_id in self.never_written
        return b"" if special else bytes(BYTES[letter] for letter in self.token_bytes(token_id))

    def readable(self, token_id: int) -> str:
        """A token for people: blanks as `␣`, bytes that are a part of a character as `\\xe6`."""
        letters = self.spelled(token_id)
        text = letters.decode("utf-8", "backslashreplace").replace(" ", "␣") if letters else self.token_bytes(token_id)
        return printable(text)

    def beginning_like(self, token_id: int) -> torch.Tensor:
        """Which tokens begin with the bytes of this one, itself among them, (V,) bool; no special one does."""
        start = self.spelled(token_id)
        spelled = map(self.spelled, range(self.vocab_size))
        return torch.tensor([bool(letters) and letters.startswith(start) for letters in spelled])

    def check_lossless(self, titles: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
        """Raise a UserError that names the first title which does not come back exactly from its ids."""
        for title, ids, back in zip(titles, encoded, self.decode_batch(encoded), strict=True):
            if back != title or self.unk_id in ids:
                raise UserError(f"tokenizer: {title!r} comes back as {back!r}; a tokenizer must be lossless")

    def save(self, path: Path | str) -> None:
        """Write `tokenizer.json`, the format of the `tokenizers` library, in one step."""
        with replacing(path) as partial:
            partial.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """What `save` writes."""
        return self._tokenizer.to_str(pretty=False)

    @classmethod
    def load(cls, path: Path | str) -> "TitleTokenizer":
        """Read a `tokenizer.json` that `save` wrote."""
        return cls(Tokenizer.from_file(str(path)))

    @classmethod
    def from_json(cls, text: str) -> "TitleTokenizer":
        """Read what `to_json` gave."""
        return cls(Tokenizer.from_str(text))

    @staticmethod
    def _without_blank(text: str) -> str:
        return text[1:] if text.startswith(" ") else text


def byte_level(model: models.Model) -> Tokenizer:
    """A tokenizer with that model, the GPT-2 byte-level splitting, one blank before each title, and its decoder."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def check_vocab_size(vocab_size: int) -> None:
    """Refuse a vocabulary that cannot hold the 256 bytes and the special tokens."""
    if not isinstance(vocab_size, int) or vocab_size < SMALLEST_VOCABULARY:
        allowed = f"at least {SMALLEST_VOCABULARY} (256 bytes and {len(SPECIAL_TOKENS)} special tokens)"
        raise BadValue("tokenizer.vocab_size", vocab_size, allowed)


def in_blocks(titles: Sequence[str], size: int = 1000) -> Iterable[Sequence[str]]:
    """The titles in lists of `size`, the form in which the trainers read fastest.

    A title with a run of letters or blanks as no language has it is given in parts, because the time to train on a word
    grows with the square of its length; it is encoded whole.
    """
    for start in range(0, len(titles), size):
        yield [part for title in titles[start : start + size] for part in _in_parts(title)]


def _in_parts(title: str) -> Iterable[str]:
    if len(title) < LONGEST_WORD or not LONG_RUN.search(title):
        return (title,)
    return (title[start : start + LONGEST_WORD] for start in range(0, len(title), LONGEST_WORD))
