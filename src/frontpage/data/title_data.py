"""TitleData: what every corpus of titles shares - selection, split, tokenizer, token cache, loaders."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch

from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast, Between, Count, OneOf, Seed, Text
from frontpage.command.notices import notice
from frontpage.data.days import select_days
from frontpage.data.documents import Documents, Joined
from frontpage.data.encoded import EncodedTitles, encode_titles
from frontpage.data.entities import without_entities
from frontpage.data.epoch_titles import EpochTitles, SameTitles
from frontpage.data.files import read_titles
from frontpage.data.large_file import is_large, select_from_file
from frontpage.data.loader import TitleLoader
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.recased import RecasedTitles, Shares
from frontpage.data.recasing import in_other_style
from frontpage.data.resampled import ResampledTitles
from frontpage.data.run_data import RunData
from frontpage.data.run_sizes import accumulation_of
from frontpage.data.scoring_rows import ScoringRows
from frontpage.data.selection import Selection, select_titles
from frontpage.data.text_sizes import TextSizes
from frontpage.data.times import read_times
from frontpage.data.title_file import TitleFile, read_title_file
from frontpage.data.token_cache import TokenizerFactory, cache_key, tokenize_cached

SHOWN = 3  # titles of a row, in words
LONGEST = 80  # characters of a title
PROBE = ["a text to find out which algorithm makes a tokenizer"]


class TitleData(RunData):
    """Titles, selected, split and tokenized once, packed anew every epoch.

    A given `path` is what is read, whatever the corpus; without it `source` supplies the rows. `unescape_html` undoes
    their HTML entities. `seed` fixes selection and split, `packing_seed` the order of an epoch and, with
    `subword_alpha`, the tokens that its titles are written in (ResampledTitles), with `recase` which of them it shows
    in the other capitalisation (RecasedTitles); a validation has the titles as they are, in their best tokens.
    `batch_size` counts windows of `block_size` tokens, on each device. `evaluation_tokens` is the size of a validation
    batch in tokens, `evaluation_row` the tokens of a row that holds several titles (null: one title a row). With
    `join=day` what is packed and scored is no title but a document, the titles of a day in the order of `time_column`,
    each closed by `<eos>` (days.py). Raises UserError.
    """

    def __init__(
        self,
        *,
        tokenizer: TokenizerFactory,
        cache_dir: str | Path,
        path: Text | None = None,
        column: Text = "title",
        join: Annotated[str, OneOf("none", "day")] = "none",
        time_column: Text = "created",
        unescape_html: bool = False,
        test_path: Text | None = None,
        num_titles: Count | None = None,
        max_titles: Count | None = None,
        val_frac: Annotated[float, Between(0, 1, "()")] = 0.1,
        seed: Seed = 1337,
        packing_seed: Seed = 1337,
        block_size: Count = 128,
        batch_size: Count = 64,
        repack: bool = True,
        subword_alpha: Annotated[float, AtLeast(0, 100)] | None = None,
        recase: Annotated[float | list[float], Shares()] | None = None,
        drop_tail: bool = False,
        evaluation_tokens: Count = 16_384,
        evaluation_row: Count | None = None,
    ) -> None:
        super().__init__()
        for key, value in (("block_size", block_size), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise BadValue(f"data.{key}", value, "a whole number of at least 1")
        self.make_tokenizer, self.cache_dir = tokenizer, cache_dir
        self.path, self.column, self.test_path = path, column, test_path
        self.join, self.time_column, self.unescape_html = join, time_column, unescape_html
        self.num_titles, self.max_titles, self.val_frac = num_titles, max_titles, val_frac
        self.seed, self.packing_seed = seed, packing_seed
        self.block_size, self.batch_size = block_size, batch_size
        self.asked_batch_size = batch_size  # of the original's metric, whatever micro-batch fits
        self.repack, self.drop_tail, self.subword_alpha, self.recase = repack, drop_tail, subword_alpha, recase
        self.evaluation_tokens, self.evaluation_row = evaluation_tokens, evaluation_row
        self.selection: Selection | None = None
        self.others: Sequence[str] = ()  # the training titles as they are recased
        self.changing: EpochTitles | None = None  # the training titles, where epochs differ

    @abstractmethod
    def source(self) -> list[str]:
        """The corpus's own rows, a list of str, where no file is given."""

    @property
    @abstractmethod
    def source_name(self) -> str:
        """What the run's record calls the corpus's own rows."""

    def source_times(self) -> list[datetime]:
        """When each of the corpus's own rows was written; UserError where that is not known."""
        allowed = f"{self.source_name} does not say when a title was written; none, or a file with data.path=..."
        raise BadValue("data.join", self.join, allowed)

    @property
    def packed_validation(self) -> bool:
        """Whether a row of a validation holds several titles."""
        return self.evaluation_row is not None

    def setup(self, stage: str | None = None) -> None:
        """Read, select, split and tokenize the titles, once; Lightning may call it again."""
        if self.tokenizer is not None:
            return
        self.read()
        splits = {"train": self.selection.train, "validation": self.selection.validation}
        self.tokenizer, encoded = tokenize_cached(self.cache_dir, self.make_tokenizer, splits)
        train, validation = self.selection.train_documents, self.selection.validation_documents
        self.fingerprint = train.fingerprint(validation.fingerprint(cache_key(self.make_tokenizer, splits)))
        self.train, self.validation = train.encoded(encoded["train"]), validation.encoded(encoded["validation"])
        self.sizes = validation.sizes(TextSizes.of(self.selection.validation, encoded["validation"].lengths))
        self.longest_title = int(max(titles.lengths.max() for titles in encoded.values()))
        self._check_tokenizer_size()
        self.changing = self._changing()
        if len(self.loader_of()) == 0:
            allowed = f"with data.drop_tail the {len(self.train.tokens)} training tokens must fill a batch"
            raise BadValue("data.batch_size", self.batch_size, allowed)

    def read(self) -> None:
        """Read the titles and split them, once: what is wrong with them is told before anything is measured."""
        if self.subword_alpha is not None and self.make_tokenizer(PROBE).pieces() is None:
            allowed = "null, or tokenizer=unigram, which knows how likely each piece is"
            raise BadValue("data.subword_alpha", self.subword_alpha, allowed)
        if self.selection is None:
            self.selection = self.select()

    def select(self) -> Selection:
        """Read the titles and split them; nothing is tokenized. A large file is read in a stream: large_file.py."""
        limits = {"num_titles": self.num_titles, "max_titles": self.max_titles, "val_frac": self.val_frac}
        if self.path and self.join == "none" and is_large(self.path):
            kept = (self.path, self.column, self.unescape_html, self.cache_dir)
            return select_from_file(*kept, **limits, seed=self.seed)
        rows = read_titles(self.path, self.column) if self.path else _texts(self)
        rows = without_entities(rows, self.unescape_html, f"data.path={self.path}" if self.path else self.source_name)
        if self.join == "none":
            return select_titles(rows, **limits, seed=self.seed)
        times = read_times(self.path, self.time_column) if self.path else self.source_times()
        return select_days(rows, times, **limits, seed=self.seed)

    def training_texts(self) -> Sequence[str]:
        """The training titles."""
        return self.selection.train

    def other_texts(self) -> Sequence[str]:
        """The training titles as `recase` writes them."""
        return self.others

    def validation_texts(self) -> Sequence[str]:
        """The validation titles."""
        return self.selection.validation

    def validation_documents(self) -> Documents:
        """How these make the documents that are scored: each by itself, or by day."""
        return self.selection.validation_documents

    def val_dataloader(self) -> ScoringRows:
        """Every token of every validation title once."""
        return self._rows(self.validation)

    def test_set(self) -> TitleFile:
        """The distinct titles of `test_path`; raises UserError where there is none."""
        if not self.test_path:
            raise UserError("data.test_path=null: test=true needs a file of titles")
        return read_title_file(self.test_path, vars(self), key="data.test_path")

    def description(self) -> dict[str, Any]:
        """What the run's record says of the data."""
        chosen: Selection = self.selection
        return {
            "source": str(self.path) if self.path else self.source_name,
            "fingerprint": self.fingerprint,
            "rows": chosen.rows,
            "blank_rows": chosen.blank,
            "repeated_rows": chosen.repeated,
            "train_titles": len(chosen.train),
            "validation_titles": len(chosen.validation),
            "train_tokens": len(self.train.tokens),
            "validation_tokens": len(self.validation.tokens),
            "validation_characters": int(self.sizes.characters.sum()),
            "longest_title_tokens": self.longest_title,
            "vocab_size": self.vocab_size,
            **self._about_documents(),
        }

    def _about_documents(self) -> dict[str, Any]:
        """What the record says of documents that are no titles."""
        if not isinstance(self.selection.train_documents, Joined):
            return {}
        return {
            "train_documents": len(self.train),
            "validation_documents": len(self.validation),
            "longest_document_tokens": int(max(self.train.lengths.max(), self.validation.lengths.max())),
        }

    def size_words(self) -> str:
        """Where the titles come from, and how many there are."""
        about, drawn, joined = self.description(), "", ""
        if "train_documents" in about:
            joined = f" in {about['train_documents']:,} and {about['validation_documents']:,} days"
        if self.changing is not None:
            keys = {"subword_alpha": self.subword_alpha, "recase": self.recase}
            named = ", ".join(f"{key}={value}" for key, value in keys.items() if value is not None)
            drawn = f"; each epoch draws its own ({named}), {self.changing.tokens_of(0):,} in the first"
        return (
            f"{about['source']}: {about['train_titles']:,} titles train, {about['validation_titles']:,} validate"
            f"{joined}; {about['train_tokens']:,} and {about['validation_tokens']:,} tokens of"
            f" {about['vocab_size']:,} kinds{drawn}"
        )

    def words_of(self, batch: TitleBatch, rows: range) -> str:
        """The first titles of the first of the rows; control characters are escaped."""
        documents, targets = batch.document_ids[rows[0]], batch.targets[rows[0]]
        scored = targets != IGNORED
        begins = documents[1:] != documents[:-1]
        begins |= batch.inputs[rows[0]][1:] == self.tokenizer.eos_id  # a title within a document
        titles_of = torch.cat([begins.new_zeros(1), begins]).cumsum(0)
        pieces = [targets[scored & (titles_of == one)].tolist() for one in titles_of[scored].unique()]
        titles = self.tokenizer.decode_batch(pieces[:SHOWN])
        shown = ", ".join(repr(title if len(title) <= LONGEST else f"{title[:LONGEST]}...") for title in titles)
        more = f" and {len(pieces) - SHOWN} more" if len(pieces) > SHOWN else ""
        return f", whose titles begin with {shown}{more}"

    def loader_of(self, trainer: L.Trainer | None = None) -> TitleLoader:
        """Training windows of a trainer's process; without one, of a process that is alone."""
        again = bool(trainer and trainer.overfit_batches)  # the same batches in every epoch
        return TitleLoader(
            self.train,
            block_size=self.block_size,
            batch_size=self.batch_size,
            seed=self.packing_seed,
            pad_id=self.tokenizer.pad_id,
            eos_id=self.tokenizer.eos_id,
            repack=self.repack and not again,
            drop_tail=self.drop_tail,
            accumulation=accumulation_of(trainer),
            limit=trainer.limit_train_batches if trainer else 1.0,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            changing=None if again else self.changing,
        )

    def _changing(self) -> EpochTitles | None:
        if self.subword_alpha is None and self.recase is None:
            return None
        titles, shares = self.selection.train, self.recase
        found = self._in_tokens(titles)
        if shares is not None:
            self.others = in_other_style(titles, self.selection.validation)
            other = self._in_tokens(self.others)
            shares = [shares] if isinstance(shares, int | float) else list(shares)
            found = RecasedTitles(found, other, titles, shares, self.packing_seed)
        return self.selection.train_documents.changing(found)

    def _in_tokens(self, titles: Sequence[str]) -> EpochTitles:
        if self.subword_alpha is None:
            return SameTitles(encode_titles(self.tokenizer, titles))
        return ResampledTitles(self.tokenizer, titles, self.subword_alpha, self.packing_seed)

    def _rows(self, encoded: EncodedTitles) -> ScoringRows:
        trainer = self.trainer
        return ScoringRows(
            encoded,
            context=self.block_size,
            pad_id=self.tokenizer.pad_id,
            eos_id=self.tokenizer.eos_id,
            batch_tokens=self.evaluation_tokens,
            row_length=self.evaluation_row,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )

    def _check_tokenizer_size(self) -> None:
        asked = getattr(self.make_tokenizer, "keywords", {}).get("vocab_size")
        if asked and asked > self.vocab_size:
            notice(f"tokenizer.vocab_size={asked} is more than the text yields; the model takes {self.vocab_size}")


def _texts(corpus: TitleData) -> list[str]:
    """The rows of its `source`; BadValue where they are no list of str."""
    rows, name = corpus.source(), f"{type(corpus).__module__}.{type(corpus).__qualname__}"
    if not isinstance(rows, list):
        raise BadValue("data._target_", name, f"its source() gives a {type(rows).__name__}, not a list of str")
    wrong = next((number for number, row in enumerate(rows, start=1) if not isinstance(row, str)), None)
    if wrong is not None:
        allowed = f"row {wrong} of its source() is a {type(rows[wrong - 1]).__name__}, not a str"
        raise BadValue("data._target_", name, allowed)
    return rows
