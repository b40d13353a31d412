"""The loss of each single token of each title, and of the decision whether the title ends there."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frontpage.data.encoded import EncodedTitles
from frontpage.data.packing import IGNORED, as_batch, pack
from frontpage.data.title_data import TitleData
from frontpage.recipe.language_module import LanguageModule

TOKENS_AT_ONCE = 8192  # times the vocabulary: the logits that are held


class TokenScores:
    """N scored tokens: `nats`, `end_nats` (of "ends here" against "goes on"), `is_end`, `title`; each (N,)."""

    def __init__(self, nats: np.ndarray, end_nats: np.ndarray, is_end: np.ndarray, title: np.ndarray) -> None:
        self.nats, self.end_nats, self.is_end, self.title = nats, end_nats, is_end, title

    def by_title(self) -> np.ndarray:
        """Nats of each title, its end counted: (titles,)."""
        return np.bincount(self.title, weights=self.nats)

    def ends_by_title(self) -> np.ndarray:
        """Nats of each title's decisions to go on or to end: (titles,)."""
        return np.bincount(self.title, weights=self.end_nats)


def score_alone(module: LanguageModule, data: TitleData) -> TokenScores:
    """Every validation token once, each title without neighbours."""
    rows = data.val_dataloader()
    batches = ((module.net.hidden(b.inputs, b.document_ids, b.positions), b.targets, b.titles) for b in rows)
    return _scores(module, batches, data.tokenizer.eos_id)


def score_in_stream(module: LanguageModule, data: TitleData) -> TokenScores:
    """Every validation token once, in windows that titles share, under the module's own document mask."""
    return _scores(module, _stream(module, data.validation, data), data.tokenizer.eos_id)


def _stream(module: LanguageModule, encoded: EncodedTitles, data: TitleData) -> Iterable[tuple[Tensor, ...]]:
    ids = {"pad_id": data.tokenizer.pad_id, "eos_id": data.tokenizer.eos_id}
    packed = pack(encoded, np.arange(len(encoded)), data.block_size, **ids)
    rows = max(TOKENS_AT_ONCE // data.block_size, 1)
    for start in range(0, len(packed.inputs), rows):
        batch = as_batch(packed, slice(start, start + rows))
        yield module.hidden(batch), batch.targets, batch.document_ids  # in this order a document's id is its title's


@torch.no_grad()
def _scores(module: LanguageModule, batches: Iterable[tuple[Tensor, ...]], eos_id: int) -> TokenScores:
    """From (hidden (B, T, C), targets (B, T), titles (B, T)) of each batch."""
    parts: list[tuple[Tensor, ...]] = []
    for hidden, targets, titles in batches:
        scored = targets != IGNORED
        chunks = (part.split(TOKENS_AT_ONCE) for part in (hidden[scored], targets[scored], titles[scored]))
        for states, wanted, title in zip(*chunks, strict=True):
            log_shares = module.language_head(states).log_softmax(-1)
            nats = F.nll_loss(log_shares, wanted, reduction="none")
            ends = wanted == eos_id
            log_end = log_shares[:, eos_id].clamp(max=-1e-7)  # 1 - exp(0) has no logarithm
            decision = torch.where(ends, -log_end, -torch.log(-torch.expm1(log_end)))
            parts.append((nats, decision, ends, title))
    return TokenScores(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))
