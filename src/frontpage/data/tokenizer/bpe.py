"""Byte-level byte-pair encoding (Sennrich et al. 2016, in the byte-level form of GPT-2)."""

from collections.abc import Sequence
from typing import Annotated

from tokenizers import models, trainers

from frontpage.command.limits import AtLeast
from frontpage.command.terminal import can_redraw
from frontpage.data.tokenizer.title_tokenizer import (
    BYTE_ALPHABET,
    SPECIAL_TOKENS,
    UNK,
    TitleTokenizer,
    VocabularySize,
    byte_level,
    check_vocab_size,
    in_blocks,
)


def bpe(
    titles: Sequence[str], vocab_size: VocabularySize, min_frequency: Annotated[int, AtLeast(0)] = 0
) -> TitleTokenizer:
    """Train byte-level BPE on `titles`: at most `vocab_size` tokens, merges of pairs seen `min_frequency` times."""
    check_vocab_size(vocab_size)
    tokenizer = byte_level(models.BPE(unk_token=UNK))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=BYTE_ALPHABET,
        show_progress=can_redraw(),
    )
    tokenizer.train_from_iterator(in_blocks(titles), trainer)
    return TitleTokenizer(tokenizer)
