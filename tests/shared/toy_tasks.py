"""Two tasks that the package knows nothing of: which word comes next, and which of two kinds a sentence is of.

A net with two heads, its LightningModule with its own headline (higher is better), and its own data: what another
task brings, and where it may differ from titles.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.data.epoch_loader import EpochLoader
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import IGNORED
from frontpage.data.run_data import RunData
from frontpage.data.token_cache import TokenizerFactory, cache_key
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.evaluation.losses import next_token_loss
from frontpage.models.gpt import GPT
from frontpage.recipe.training_module import TrainingModule

WORDS = (("cat", "dog", "owl", "fox"), ("sings", "sleeps", "runs"), ("here", "there", "soon", "late", "now"))
ALIVE = ("sings", "runs")  # sentences with these are of kind 1


class ToyBatch(NamedTuple):
    """Sentences, a row each: `inputs` and `targets` (B, T), IGNORED behind a sentence's end, `kinds` (B,)."""

    inputs: Tensor
    targets: Tensor
    kinds: Tensor


class ToyLoader(EpochLoader):
    """Sentences in a new order every epoch."""

    def __init__(self, batch: ToyBatch, sizes: EpochSizes, seed: int) -> None:
        super().__init__(sizes)
        self.all, self.seed = batch, seed

    def batch(self, epoch: int, index: int) -> ToyBatch:
        """Batch `index` of `epoch`."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.all.kinds))
        size = self.sizes_of(epoch).batch_size
        rows = order[index * size : (index + 1) * size]
        return ToyBatch(*(field[rows] for field in self.all))


class ToyRows:
    """A validation in one batch."""

    def __init__(self, batch: ToyBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[ToyBatch]:
        yield self.batch


class ToyData(RunData):
    """Sentences of three words; every fourth is held out. A row is a sentence."""

    def __init__(
        self, *, tokenizer: TokenizerFactory, block_size: int = 24, batch_size: int = 8, seed: int = 1
    ) -> None:
        super().__init__()
        self.make_tokenizer, self.block_size, self.batch_size, self.seed = tokenizer, block_size, batch_size, seed
        self.sentences: dict[str, list[str]] = {}

    def read(self) -> None:
        """Make all sentences and split them."""
        found = [f"{one} {two} {three}" for one in WORDS[0] for two in WORDS[1] for three in WORDS[2]]
        held_out = found[::4]
        self.sentences = {"train": [one for one in found if one not in held_out], "validation": held_out}

    def setup(self, stage: str | None = None) -> None:
        """Tokenize."""
        self.read()
        self.tokenizer = self.make_tokenizer(self.sentences["train"])
        self.fingerprint = cache_key(self.make_tokenizer, self.sentences)

    def loader_of(self, trainer: L.Trainer | None = None) -> ToyLoader:
        """The training sentences."""
        sizes = EpochSizes(
            len(self.sentences["train"]) * self.block_size,
            self.block_size,
            self.batch_size,
            trainer.accumulate_grad_batches if trainer else 1,
            limit=trainer.limit_train_batches if trainer else 1.0,
        )
        return ToyLoader(self._batch("train"), sizes, self.seed)

    def val_dataloader(self) -> "ToyRows":
        """The held-out sentences."""
        return ToyRows(self._batch("validation"))

    def training_texts(self) -> Sequence[str]:
        """The training sentences."""
        return self.sentences["train"]

    def validation_texts(self) -> Sequence[str]:
        """The held-out sentences."""
        return self.sentences["validation"]

    def description(self) -> dict[str, Any]:
        """How many sentences there are."""
        return {"source": "toy", "fingerprint": self.fingerprint, "sentences": len(self.sentences["train"])}

    def size_words(self) -> str:
        """How many sentences there are."""
        return f"toy: {len(self.sentences['train'])} sentences"

    def words_of(self, batch: ToyBatch, rows: range) -> str:
        """The first sentence of the rows."""
        targets = batch.targets[rows[0]]
        return f", such as {self.tokenizer.decode(targets[targets != IGNORED].tolist())!r}"

    def _batch(self, split: str) -> ToyBatch:
        eos, size = self.tokenizer.eos_id, self.block_size
        rows = [[eos, *self.tokenizer.encode(one), eos][: size + 1] for one in self.sentences[split]]
        inputs = [(row[:-1] + [eos] * size)[:size] for row in rows]
        targets = [(row[1:] + [IGNORED] * size)[:size] for row in rows]
        kinds = [any(word in one for word in ALIVE) for one in self.sentences[split]]
        return ToyBatch(torch.tensor(inputs), torch.tensor(targets), torch.tensor(kinds, dtype=torch.int64))


class ToyNet(GPT):
    """A GPT with a second head, which reads the mean over the places of a sentence."""

    def __init__(self, *, kinds: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.add_head("kind", nn.Linear(self.widths[0], kinds))


class ToyModule(TrainingModule):
    """Learns both at once; `kind_weight` weighs the loss of the second. `val/loss` is that of the next word."""

    architecture = ToyNet
    writes_text = True

    def __init__(self, *, kind_weight: float = 1.0, **others: Any) -> None:
        super().__init__(**others)
        self.kind_weight = kind_weight
        self._sums = torch.zeros(4)

    @classmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> list[Metric]:
        """The accuracy of the second task first; its loss only where the task counts."""
        accuracy = Metric("val/toy/accuracy", HIGHER, error="val/toy/accuracy_se", unit="right kinds")
        found = [accuracy, Metric("val/toy/accuracy_se", None), Metric("val/loss", unit="nats a token")]
        return found + ([Metric("val/toy/loss", unit="nats a sentence")] if settings["kind_weight"] else [])

    def loss_of(self, batch: ToyBatch) -> Tensor:
        """The sum of both tasks' means."""
        states = self.trunk(batch.inputs)
        words = next_token_loss(states, self.net.heads["language"].weight, batch.targets)
        return words + self.kind_weight * F.cross_entropy(self._kinds(batch, states), batch.kinds)

    def planned_loss(self, net: nn.Module, states: Tensor, tokens: Tensor) -> Tensor:
        """The language head's, beside which the other is small."""
        return next_token_loss(states, net.heads["language"].weight, tokens)

    def on_validation_epoch_start(self) -> None:
        """Start new sums: nats, tokens, right answers, nats of kinds."""
        self._sums = torch.zeros(4, dtype=torch.float64)

    def validation_step(self, batch: ToyBatch, batch_idx: int) -> None:
        """Score all."""
        states, tokens = self.net.hidden(batch.inputs), int((batch.targets != IGNORED).sum())
        nats = next_token_loss(states, self.net.heads["language"].weight, batch.targets)
        kinds = self._kinds(batch, states)
        right = (kinds.argmax(-1) == batch.kinds).double()
        self._sums += torch.tensor([nats * tokens, tokens, right.sum(), F.cross_entropy(kinds, batch.kinds)])
        self._count = len(batch.kinds)

    def measured(self) -> dict[str, float | None]:
        """Both tasks."""
        nats, tokens, right, of_kinds = self._sums.tolist()
        share = right / self._count
        accuracy = {"val/toy/accuracy": share, "val/toy/accuracy_se": (share * (1 - share) / self._count) ** 0.5}
        return accuracy | {"val/loss": nats / tokens} | ({"val/toy/loss": of_kinds} if self.kind_weight else {})

    def training_values(self) -> dict[str, float]:
        """A number of this task alone for the logs."""
        return {"train/toy/kind_weight": self.kind_weight}

    def _kinds(self, batch: ToyBatch, states: Tensor) -> Tensor:
        real = (batch.targets != IGNORED)[..., None]
        return self.net.heads["kind"]((states * real).sum(1) / real.sum(1))
