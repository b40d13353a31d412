"""One token for each byte of UTF-8: nothing is learned, nothing is unknown."""

from collections.abc import Sequence

from tokenizers import models

from frontpage.data.tokenizer.title_tokenizer import (
    BYTE_ALPHABET,
    SPECIAL_TOKENS,
    UNK,
    TitleTokenizer,
    VocabularySize,
    byte_level,
    check_vocab_size,
)


def bytes(titles: Sequence[str], vocab_size: VocabularySize) -> TitleTokenizer:
    """The 256 bytes and the special tokens; `titles` are not read, and `vocab_size` need only be large enough."""
    check_vocab_size(vocab_size)
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *BYTE_ALPHABET))}
    tokenizer = byte_level(models.BPE(vocab=vocabulary, merges=[], unk_token=UNK))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return TitleTokenizer(tokenizer)
