"""ParallelData: what every parallel corpus shares - books held out, tokens, the examples of its tasks, loaders."""

import hashlib
import math
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from frontpage.command.errors import BadValue
from frontpage.command.limits import AtLeast, Between, Count, OneOf, Seed
from frontpage.command.notices import notice
from frontpage.command.points import Course, Points
from frontpage.data.encoded import EncodedTitles
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.parallel.character_nats import character_nats
from frontpage.data.parallel.corruption import KINDS, Corruption
from frontpage.data.parallel.examples import ROUNDED, DrawsExamples, Examples, PairBatch, Texts
from frontpage.data.parallel.loader import LM, ParallelLoader, Windows
from frontpage.data.parallel.side import Side
from frontpage.data.parallel.split import BookSplit, split_books
from frontpage.data.parallel.task_order import ORDERS, TaskOrder
from frontpage.data.parallel.text import ParallelText
from frontpage.data.parallel.validation import ParallelRows
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import accumulation_of
from frontpage.data.scoring_rows import ScoringRows
from frontpage.data.text_sizes import TextSizes
from frontpage.data.token_cache import TokenizerFactory, cache_key, tokenize_cached

POLICIES = ("constant_tokens", "constant_examples")
SHOWN = 80  # characters of a text, in words
SHORTEST = 4  # tokens of a text with its two `<eos>`, where it may be cut
TRAIN, VALIDATION = "train", "validation"


class ParallelData(RunData):
    """A corpus in several translations, whole books of it held out, the same in all of them.

    `tasks` are those of `configs/tasks` (null: the language task alone). A document of the language task is a chapter
    in one translation, of the others a text is a unit (a verse), cut to `text_tokens`. `batch_size` counts windows of
    `block_size` tokens; under `batch_policy=constant_tokens` a micro-batch of another task has as many examples as fit
    into that many tokens, under `constant_examples` `batch_size` of them. `validation_examples` of each task are
    drawn once. With `corruption` a share of the inputs of the language task is hidden in training (see Corruption).
    `seed` fixes the split and what is validated, `packing_seed` what an epoch holds. Raises UserError.
    """

    def __init__(
        self,
        *,
        tokenizer: TokenizerFactory,
        cache_dir: str | Path,
        tasks: dict[str, Any] | None = None,
        translations: list[str] | None = None,
        val_frac: Annotated[float, Between(0, 1, "()")] = 0.05,
        validation_books: list[str | int] | None = None,
        seed: Seed = 1337,
        packing_seed: Seed = 1337,
        block_size: Count = 128,
        batch_size: Count = 16,
        text_tokens: Annotated[int, AtLeast(SHORTEST)] = 96,
        batch_policy: Annotated[str, OneOf(*POLICIES)] = "constant_tokens",
        task_order: Annotated[str, OneOf(*ORDERS)] = "stratified",
        corruption: Annotated[str, OneOf(*KINDS)] = "none",
        corruption_share: Course = 0.15,
        validation_examples: Annotated[int, AtLeast(2)] = 1000,
        evaluation_tokens: Count = 16_384,
        evaluation_row: Count | None = None,
        repack: bool = True,
    ) -> None:
        super().__init__()
        self.make_tokenizer, self.cache_dir = tokenizer, cache_dir
        self.tasks = dict(tasks or {})
        self.weights = {name: task.weight for name, task in self.tasks.items()} or {LM: Points.of(1.0)}
        self.translations, self.val_frac, self.validation_books = translations, val_frac, validation_books
        self.seed, self.packing_seed, self.repack = seed, packing_seed, repack
        self.block_size, self.batch_size, self.asked_batch_size = block_size, batch_size, batch_size
        self.text_tokens, self.batch_policy, self.task_order = text_tokens, batch_policy, task_order
        self.example_count = validation_examples
        self.evaluation_tokens, self.evaluation_row = evaluation_tokens, evaluation_row
        self.corruption, self.corruption_share = corruption, Points.of_updates(corruption_share, "corruption_share")
        self.text: ParallelText | None = None
        self.measured_alone = False  # not trained on: a task without examples here is left out, not refused
        TaskOrder(self.weights, packing_seed, how=task_order)  # for what it refuses
        if max(self.corruption_share.values) > 1:
            raise BadValue("data.corruption_share", corruption_share, "at most 1, the share of all tokens")
        if corruption != "none" and max(self.weights.get(LM, Points.of(0.0)).values) == 0:
            allowed = f"none: words are hidden from the language task alone, and tasks.{LM} has no weight"
            raise BadValue("data.corruption", corruption, allowed)
        if self.example_tasks and block_size < SHORTEST:
            raise BadValue("data.block_size", block_size, f"at least {SHORTEST} for the tasks on pairs of texts")

    @property
    def packed_validation(self) -> bool:
        """Whether a row of a validation holds several documents."""
        return self.evaluation_row is not None

    @abstractmethod
    def corpus(self) -> ParallelText:
        """The whole corpus, in all its translations."""

    @property
    def example_tasks(self) -> dict[str, DrawsExamples]:
        """The tasks whose examples are compared texts, but for those that never have a weight."""
        return {name: task for name, task in self.tasks.items() if name != LM and max(task.weight.values) > 0}

    def read(self) -> None:
        """Read and split the corpus, once, and look for examples of every task on both sides."""
        if self.text is not None:
            return
        text = self.corpus()
        text = text if self.translations is None else text.only(self.translations)
        self.split: BookSplit = split_books(text, self.val_frac, self.seed, self.validation_books)
        links, votes = text.links, text.votes
        self.sides = {
            TRAIN: Side(text, self.split.train_units, *_chosen(links, votes, self.split.train_links)),
            VALIDATION: Side(text, self.split.validation_units, *_chosen(links, votes, self.split.validation_links)),
        }
        for name, task in self.example_tasks.items():
            self._check(name, task)
        self.text = text
        self._say_repeats()

    def _check(self, name: str, task: DrawsExamples) -> None:
        """Look for examples of a task; where only what is possible is `measured_alone`, it may be left out."""
        try:
            for side in [self.sides[VALIDATION]] if self.measured_alone else self.sides.values():
                task.check(side, f"tasks.{name}")
        except BadValue as error:
            if not self.measured_alone:
                raise
            notice(f"{name} is not measured: {error}")
            del self.tasks[name]

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenize, once; Lightning may call it again."""
        if self.tokenizer is not None:
            return
        self.read()
        documents = {split: self._documents(split) for split in self.sides}
        units = {f"{split}_units": side.there for split, side in self.sides.items()}
        splits = {name: [text for _, text in of] for name, of in documents.items()} | units
        self.tokenizer, encoded = tokenize_cached(self.cache_dir, self.make_tokenizer, splits)
        self.fingerprint = cache_key(self.make_tokenizer, splits)
        if len(self.text.links):
            related = hashlib.blake2b(self.text.links.tobytes() + self.text.votes.tobytes(), digest_size=8)
            self.fingerprint += f"-{related.hexdigest()}"
        if self.corruption != "none":
            self.tokenizer.add_mask()
            self.fingerprint += "-mask"
        self.train, self.validation = encoded[TRAIN], encoded[VALIDATION]
        self.sizes = TextSizes.of(splits[VALIDATION], self.validation.lengths)
        # Of each held-out document, the number of its translation.
        self.document_translations = np.array([translation for translation, _ in documents[VALIDATION]])
        self.texts = {split: self._texts(split, encoded[f"{split}_units"]) for split in self.sides}
        self._say_cuts()
        if len(self.train.tokens) < self.block_size:
            allowed = f"the {len(self.train.tokens)} training tokens must fill a window"
            raise BadValue("data.block_size", self.block_size, allowed)
        self.examples = {name: self._validation_examples(name, task) for name, task in self.example_tasks.items()}

    def _documents(self, split: str) -> list[tuple[int, str]]:
        """(translation, text) of every chapter of a split that is not empty, translation after translation."""
        chosen = {*(self.split.train_units if split == TRAIN else self.split.validation_units).tolist()}
        chapters = [units for units in self.text.documents() if int(units[0]) in chosen]
        found = [
            (number, self.text.document(translation, units))
            for number, translation in enumerate(self.text.texts)
            for units in chapters
        ]
        return [(number, text) for number, text in found if text]

    def _texts(self, split: str, encoded: EncodedTitles) -> Texts:
        longest = min(self.text_tokens, self.block_size)
        return Texts(self.sides[split], encoded, longest, eos_id=self.tokenizer.eos_id, pad_id=self.tokenizer.pad_id)

    def _say_repeats(self) -> None:
        """Say how many held-out texts stand in a training book, too: what is learned of them by heart counts."""
        held_out = self.sides[VALIDATION]
        repeats, texts = held_out.repeated_of(self.sides[TRAIN]), len(held_out.there)
        if repeats:
            said = f"{repeats:,} stand in a training book, too, but for case and marks"
            notice(f"{self.text.source}: of {texts:,} held-out texts {said}")

    def _say_cuts(self) -> None:
        cut, texts = sum(one.cut() for one in self.texts.values()), sum(len(side.there) for side in self.sides.values())
        if cut and self.example_tasks:
            notice(f"data.text_tokens={self.text_tokens}: {cut:,} of {texts:,} texts are cut for the tasks on pairs")

    def _validation_examples(self, name: str, task: DrawsExamples) -> Examples:
        draws = np.random.default_rng((self.seed, zlib.crc32(name.encode())))
        return task.draw(self.sides[VALIDATION], self.example_count, draws)

    def examples_of(self, task: DrawsExamples) -> int:
        """Examples of a micro-batch of a task, on each device."""
        return self._examples(task, self.batch_size)

    def _examples(self, task: DrawsExamples, micro: int) -> int:
        """The same of a micro-batch of `micro` windows."""
        if self.batch_policy == "constant_examples":
            return micro
        return max(micro * self.block_size // (task.members * self._row), 1)

    @property
    def _row(self) -> int:
        """Tokens that the longest text of a pair has when it is padded."""
        return -(-min(self.text_tokens, self.block_size) // ROUNDED) * ROUNDED

    def widest_rows(self, micro: int) -> int:
        """Those of the widest task: under `constant_examples` a triple is as wide as three windows may be."""
        texts = [self._examples(task, micro) * task.members for task in self.example_tasks.values()]
        return max([micro, *(-(-count * self._row // self.block_size) for count in texts)])

    def loader_of(self, trainer: L.Trainer | None = None) -> ParallelLoader:
        """Training batches of a trainer's process; without one, of a process that is alone."""
        (accumulate, *others), world = accumulation_of(trainer), trainer.world_size if trainer else 1
        if others:
            asked = [accumulate, *others]
            raise BadValue("trainer.accumulate_grad_batches", asked, "one number, by which the tasks take their turns")
        overfit = bool(trainer and trainer.overfit_batches)
        special = {"pad_id": self.tokenizer.pad_id, "eos_id": self.tokenizer.eos_id}
        windows = Windows(self.train, self.block_size, self.packing_seed, **special, repack=self.repack)
        batches = self._epoch(windows, world)
        sizes = EpochSizes(
            batches * self.block_size * self.batch_size * world,
            self.block_size,
            self.batch_size,
            accumulate,
            world,
            limit=trainer.limit_train_batches if trainer else 1.0,
        )
        order = TaskOrder(self.weights, self.packing_seed, sizes.update_of_run, self.task_order)
        tasks = self._tasks_and_counts()
        rank = trainer.global_rank if trainer else 0
        side, texts = self.sides[TRAIN], self.texts[TRAIN]
        corruption = None
        if self.corruption != "none":
            corruption = Corruption(self.corruption, self.corruption_share, self.tokenizer, self.packing_seed)
        return ParallelLoader(
            sizes,
            order,
            windows,
            tasks,
            side,
            texts,
            seed=self.packing_seed,
            rank=rank,
            one_epoch=overfit,
            corruption=corruption,
        )

    def _epoch(self, windows: Windows, world: int) -> int:
        """Micro-batches of an epoch: those in which the language task passes once over its windows; without that task,
        those in which the others have seen as many texts as there are."""
        order = TaskOrder(self.weights, self.packing_seed)  # for the shares
        share = order.share(LM)
        if share:
            return math.ceil(windows.count / (self.batch_size * world) / share)
        texts = sum(order.share(name) * self.examples_of(task) * task.members for name, task in self.tasks.items())
        return math.ceil(int(self.sides[TRAIN].has.sum()) / (texts * world))

    def val_dataloader(self) -> ParallelRows:
        """Every token of every held-out document once, and the examples of every task."""
        trainer = self.trainer
        rows = ScoringRows(
            self.validation,
            context=self.block_size,
            pad_id=self.tokenizer.pad_id,
            eos_id=self.tokenizer.eos_id,
            batch_tokens=self.evaluation_tokens,
            row_length=self.evaluation_row,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        tasks = self._tasks_and_counts()
        return ParallelRows(rows, self.examples, self.texts[VALIDATION], tasks, self.evaluation_tokens)

    def _tasks_and_counts(self) -> dict[str, tuple[DrawsExamples, int]]:
        """The tasks on pairs of texts by name, and the examples of a micro-batch of each."""
        return {name: (task, self.examples_of(task)) for name, task in self.example_tasks.items()}

    def training_texts(self) -> Sequence[str]:
        """Every unit and every chapter of the training books."""
        return [*self.sides[TRAIN].there, *(text for _, text in self._documents(TRAIN))]

    def validation_texts(self) -> Sequence[str]:
        """Every held-out chapter."""
        return [text for _, text in self._documents(VALIDATION)]

    def least_nats(self) -> Tensor | None:
        """Nats of each held-out chapter (documents,) to whoever knows the grammar; None for text that people wrote."""
        if self.text.least_nats is None:
            return None
        chosen = {*self.split.validation_units.tolist()}
        held_out = [int(units[0]) in chosen for units in self.text.documents()]
        return torch.from_numpy(np.concatenate([self.text.least_nats[name][held_out] for name in self.text.texts]))

    def chances(self) -> dict[str, float]:
        """Those of each task, on its fixed examples."""
        side, found = self.sides[VALIDATION], {}
        for name, examples in self.examples.items():
            found |= self.tasks[name].chances(name, examples, side)
        return found

    def character_nats(self) -> float:
        """Nats a character of the held-out text to a model that knows the training text's characters only."""
        training = [text for _, text in self._documents(TRAIN)]
        return character_nats(training, self.validation_texts(), float(self.sizes.characters.sum()))

    def description(self) -> dict[str, Any]:
        """What the run's record says of the data."""
        sides = self.sides
        return {
            "source": self.text.source,
            "fingerprint": self.fingerprint,
            "translations": " ".join(self.text.texts),
            "validation_books": " ".join(map(str, self.split.validation_books)),
            "train_units": len(sides[TRAIN]),
            "validation_units": len(sides[VALIDATION]),
            "train_links": len(self.split.train_links),
            "validation_links": len(self.split.validation_links),
            "crossing_links": self.split.crossing,
            "train_documents": len(self.train),
            "validation_documents": len(self.validation),
            "train_tokens": len(self.train.tokens),
            "validation_tokens": len(self.validation.tokens),
            "validation_characters": int(self.sizes.characters.sum()),
            "vocab_size": self.vocab_size,
            "examples_a_batch": {name: self.examples_of(task) for name, task in self.example_tasks.items()},
        }

    def size_words(self) -> str:
        """Where the text comes from, how much of it there is, and which books are held out."""
        about = self.description()
        return (
            f"{about['source']}: {about['train_units']:,} units train, {about['validation_units']:,} validate"
            f" ({about['validation_books']}), in {about['translations']};"
            f" {about['train_tokens']:,} and {about['validation_tokens']:,} tokens of {about['vocab_size']:,} kinds"
        )

    def words_of(self, batch: TitleBatch | PairBatch, rows: range) -> str:
        """How the first text of the rows begins; control characters are escaped."""
        if isinstance(batch, PairBatch):
            ids = batch.tokens[rows[0], 0, 1 : int(batch.lengths[rows[0], 0]) - 1]
        else:
            targets = batch.targets[rows[0]]
            ids = targets[targets != IGNORED]
        return f", such as {self.tokenizer.decode(ids.tolist())[:SHOWN]!r}"


def _chosen(links: np.ndarray, votes: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return links[which], votes[which]
