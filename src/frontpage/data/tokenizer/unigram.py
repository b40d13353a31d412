"""Byte-level unigram language model tokenizer (Kudo 2018, "Subword Regularization")."""

import json
from collections.abc import Sequence

from tokenizers import models, trainers

from frontpage.command.limits import Count
from frontpage.command.terminal import can_redraw
from frontpage.data.tokenizer.title_tokenizer import (
    BYTE_ALPHABET,
    SMALLEST_VOCABULARY,
    SPECIAL_TOKENS,
    UNK,
    TitleTokenizer,
    VocabularySize,
    byte_level,
    check_vocab_size,
    in_blocks,
)

SCORE_DIGITS = 8  # beyond these the trainer's scores differ from run to run (parallel sums)
PENALTY_RANGE = 256 * 1e-4  # the trainer spreads the bytes it never saw over this range, in a random order


def unigram(titles: Sequence[str], vocab_size: VocabularySize, max_piece_length: Count = 16) -> TitleTokenizer:
    """Train a unigram tokenizer over bytes on `titles`: at most `vocab_size` pieces of at most `max_piece_length`."""
    check_vocab_size(vocab_size)
    trained = byte_level(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=BYTE_ALPHABET,
        unk_token=UNK,
        max_piece_length=max_piece_length,
        show_progress=can_redraw(),
    )
    trained.train_from_iterator(in_blocks(titles), trainer)
    pieces = _in_fixed_order(json.loads(trained.to_str())["model"]["vocab"], vocab_size - SMALLEST_VOCABULARY)
    tokenizer = byte_level(models.Unigram(pieces, unk_id=SPECIAL_TOKENS.index(UNK)))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return TitleTokenizer(tokenizer)


def _in_fixed_order(pieces: list[tuple[str, float]], longer: int) -> list[tuple[str, float]]:
    """The same pieces with rounded scores, best first and then by name: the trainer itself is not deterministic.

    All bytes are kept, and `longer` pieces of several: where there is room for the bytes only, the trainer adds all.
    """
    special, learned = pieces[: len(SPECIAL_TOKENS)], pieces[len(SPECIAL_TOKENS) :]
    lowest = round(min(score for _, score in learned), SCORE_DIGITS)
    alphabet = set(BYTE_ALPHABET)
    scores = {
        piece: lowest if piece in alphabet and score <= lowest + PENALTY_RANGE else round(score, SCORE_DIGITS)
        for piece, score in learned
    }
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    kept = alphabet.union([piece for piece, _ in ranked if piece not in alphabet][:longer])
    return [(piece, score) for piece, score in special] + [item for item in ranked if item[0] in kept]
