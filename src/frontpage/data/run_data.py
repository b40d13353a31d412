"""RunData: what a run asks of its corpora, whatever they hold."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import Tensor

from frontpage.command.errors import UserError
from frontpage.data.documents import APART, Documents
from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.run_sizes import RunSizes
from frontpage.data.title_file import TitleFile
from frontpage.data.token_cache import TokenizerFactory
from frontpage.data.tokenizer import TitleTokenizer


class RunData(L.LightningDataModule):
    """Corpora with their splits, of which a run trains on one and validates on another; a subclass reads them.

    When it is built it sets `block_size` (tokens of a row at most), `batch_size` (rows of a micro-batch on each device,
    which `trainer.fit_batch` may make smaller) and `make_tokenizer` (which `init_from` replaces); in `setup` it sets
    `tokenizer` and `fingerprint`, a digest of the corpora, their split and their tokenizer. Raises UserError.
    """

    block_size: int
    batch_size: int
    make_tokenizer: TokenizerFactory
    tokenizer: TitleTokenizer | None = None
    fingerprint: str
    whole_texts = True  # whether every token of a text is a target
    packed_validation = False  # whether a row of a validation holds several documents

    @abstractmethod
    def read(self) -> None:
        """Read and split the corpora, once: what is wrong with them is told before anything is measured."""

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Tokenize what was read, once; Lightning may call it again."""

    @abstractmethod
    def loader_of(self, trainer: L.Trainer | None = None) -> EpochLoader:
        """Training batches of a trainer's process; without one, of a process that is alone."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What the run's record says of the data: `source`, `fingerprint`, and its sizes by names of its own."""

    @abstractmethod
    def size_words(self) -> str:
        """What the console says of the data before training, on one line."""

    @abstractmethod
    def training_texts(self) -> Sequence[str]:
        """What the weights will have seen, text by text: a run keeps their hashes, to tell it of any text later."""

    def other_texts(self) -> Sequence[str]:
        """Other forms of the training texts, in which they are shown as well; known after `setup`."""
        return ()

    @abstractmethod
    def validation_texts(self) -> Sequence[str]:
        """What the best weights are chosen on."""

    def validation_documents(self) -> Documents:
        """How these make the documents that are scored."""
        return APART

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the trained tokenizer; known after `setup`."""
        return self.tokenizer.vocab_size

    def widest_rows(self, micro: int) -> int:
        """Rows of `block_size` that have the tokens of the widest training batch, where micro-batches have `micro`."""
        return micro

    def train_dataloader(self) -> EpochLoader:
        """Training batches of this process."""
        return self.loader_of(self.trainer)

    def run_sizes(self, trainer: L.Trainer) -> RunSizes:
        """What the epochs of `trainer` consist of, be it attached yet or not."""
        return self.loader_of(trainer).run_sizes

    def test_set(self) -> TitleFile:
        """The texts of a test set; raises UserError where there is none."""
        raise UserError(f"test=true: {type(self).__name__} has no test set")

    def least_nats(self) -> Tensor | None:
        """Nats of each validation text (texts,) to whoever knows where they come from; None where nobody does."""
        return None

    def chances(self) -> dict[str, float]:
        """What guessing scores on the validation set, by the name of the metric; of those of which that is known."""
        return {}

    def words_of(self, batch: Any, rows: range) -> str:
        """What `rows` of a training batch hold, in words that go on after `they are rows 3 to 5 of ...`."""
        return ""
