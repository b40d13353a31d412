"""ModularArithmetic: all sums (or products ...) modulo a prime, a share of them for training (Power et al. 2022)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch

from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import Between, Count, OneOf, Seed
from frontpage.data.arithmetic.answer_loader import AnswerLoader, ScoringAnswers, answer_rows
from frontpage.data.arithmetic.questions import OPERATIONS, all_questions
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import accumulation_of, by_epoch
from frontpage.data.text_sizes import TextSizes
from frontpage.data.token_cache import TokenizerFactory, cache_key, tokenize_cached
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer

TRAIN, VALIDATION = "train", "validation"
LENGTH = 5  # tokens of a question, the `<eos>` before it counted; and of a question with its answer


class ModularArithmetic(RunData):
    """Questions `12 + 45 = 57`, of which any architecture learns the last word.

    Of all pairs of numbers below `modulus` a share of `train_share`, drawn with `seed`, is trained on, the others are
    validated; 45 + 12 is on the same side as 12 + 45. A row is a question, `block_size` its tokens; `packing_seed`
    fixes the order of each epoch. `val/nats_per_char` counts the characters of the answers alone. `evaluation_row` is
    for scripts that score other text with the run. The tokenizer must have room for a token for each number. Raises
    UserError.
    """

    whole_texts = False

    def __init__(
        self,
        *,
        tokenizer: TokenizerFactory,
        cache_dir: str | Path,
        operation: Annotated[str, OneOf(*OPERATIONS)] = "plus",
        modulus: Annotated[int, Between(3, 1000)] = 59,
        train_share: Annotated[float, Between(0, 1, "()")] = 0.45,
        seed: Seed = 1337,
        packing_seed: Seed = 1337,
        block_size: Count = LENGTH,
        batch_size: Count = 256,
        evaluation_tokens: Count = 16_384,
        evaluation_row: Count | None = None,
        repack: bool = True,
    ) -> None:
        super().__init__()
        if block_size != LENGTH:
            raise BadValue("data.block_size", block_size, f"{LENGTH}, the tokens of a question")
        self.make_tokenizer, self.cache_dir = tokenizer, cache_dir
        self.operation, self.modulus = operation, modulus
        self.train_share, self.seed, self.packing_seed, self.repack = train_share, seed, packing_seed, repack
        self.block_size, self.batch_size, self.asked_batch_size = block_size, batch_size, batch_size
        self.evaluation_tokens, self.evaluation_row = evaluation_tokens, evaluation_row
        self.texts: dict[str, list[str]] = {}

    def read(self) -> None:
        """Write all questions down and split them, once."""
        if self.texts:
            return
        try:
            asked = all_questions(self.operation, self.modulus)
        except ValueError:
            raise BadValue("data.modulus", self.modulus, "a prime, where numbers are divided") from None
        order, count = np.random.default_rng(self.seed).permutation(len(asked)), round(self.train_share * len(asked))
        if not 0 < count < len(asked):
            allowed = f"of {len(asked)} questions at least one on each side"
            raise BadValue("data.train_share", self.train_share, allowed)
        self.texts = {
            TRAIN: [text for one in order[:count] for text in asked[one]],
            VALIDATION: [text for one in order[count:] for text in asked[one]],
        }

    def setup(self, stage: str | None = None) -> None:
        """Tokenize, once."""
        if self.tokenizer is not None:
            return
        self.read()
        self.tokenizer, encoded = tokenize_cached(self.cache_dir, self.make_tokenizer, self.texts)
        self.fingerprint = cache_key(self.make_tokenizer, self.texts)
        self.train, self.validation = encoded[TRAIN], encoded[VALIDATION]
        self.rows = {}
        for split, texts in self.texts.items():
            wrong = np.flatnonzero(encoded[split].lengths != LENGTH + 1)
            if len(wrong):
                text, known = texts[wrong[0]], {word for one in self.texts[TRAIN] for word in one.split()}
                if not {*text.split()} <= known:
                    allowed = f"so much that training has every number; {text!r} has one that it lacks"
                    raise BadValue("data.train_share", self.train_share, allowed)
                raise self._more_tokens(text)
            tokens = encoded[split].tokens.reshape(-1, LENGTH + 1)[:, :LENGTH].astype(np.int64)
            self.rows[split] = answer_rows(tokens, self.tokenizer.eos_id)
        answers = [len(text.rpartition(" ")[2]) for text in self.texts[VALIDATION]]
        length = torch.tensor(answers, dtype=torch.float64)
        self.sizes = TextSizes(characters=length, bytes=length, tokens=torch.ones_like(length))

    def _more_tokens(self, text: str) -> UserError:
        """What to say of a question of which a word takes several tokens."""
        function, settings = (getattr(self.make_tokenizer, name, None) for name in ("func", "keywords"))
        asked = (settings or {}).get("vocab_size")
        if asked and asked <= self.vocab_size and function is not byte_tokenizer:
            allowed = f"more, so that every word is one token: {text!r} has more than {LENGTH}"
            return BadValue("tokenizer.vocab_size", asked, allowed)
        needed = "every word must be one token, as tokenizer=bpe with tokenizer.min_frequency=0 makes it"
        return UserError(f"tokenizer: {needed}; {text!r} has more than {LENGTH}")

    def loader_of(self, trainer: L.Trainer | None = None) -> AnswerLoader:
        """Training questions of a trainer's process; without one, of a process that is alone."""
        sizes = EpochSizes(
            len(self.texts[TRAIN]) * self.block_size,
            self.block_size,
            self.batch_size,
            1,
            trainer.world_size if trainer else 1,
            limit=trainer.limit_train_batches if trainer else 1.0,
        )
        one_order = not self.repack or bool(trainer and trainer.overfit_batches)
        rank = trainer.global_rank if trainer else 0
        return AnswerLoader(
            self.rows[TRAIN], by_epoch(sizes, accumulation_of(trainer)), self.packing_seed, rank, one_order
        )

    def val_dataloader(self) -> ScoringAnswers:
        """Every validation question once."""
        place = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return ScoringAnswers(self.rows[VALIDATION], max(self.evaluation_tokens // self.block_size, 1), *place)

    def training_texts(self) -> Sequence[str]:
        """The questions of training with their answers."""
        return self.texts[TRAIN]

    def validation_texts(self) -> Sequence[str]:
        """Those of validation."""
        return self.texts[VALIDATION]

    def description(self) -> dict[str, Any]:
        """What the run's record says of the data."""
        return {
            "source": f"{self.operation} modulo {self.modulus}",
            "fingerprint": self.fingerprint,
            "train_questions": len(self.texts[TRAIN]),
            "validation_questions": len(self.texts[VALIDATION]),
            "vocab_size": self.vocab_size,
        }

    def size_words(self) -> str:
        """What is asked, and how often."""
        about = self.description()
        return (
            f"{about['source']}: {about['train_questions']:,} questions train, {about['validation_questions']:,}"
            f" validate; tokens of {about['vocab_size']:,} kinds"
        )

    def words_of(self, batch: TitleBatch, rows: range) -> str:
        """The first question of the rows, and its answer."""
        inputs, targets = batch.inputs[rows[0]], batch.targets[rows[0]]
        return f", such as {self.tokenizer.decode([*inputs.tolist(), *targets[targets != IGNORED].tolist()])!r}"
