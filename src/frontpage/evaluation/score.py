"""Any titles, scored by a reopened run: what a validation computes, without a Trainer."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from frontpage.data.encoded import EncodedTitles, encode_titles
from frontpage.evaluation.metrics import TextSizes, TitleScores, honest_metrics
from frontpage.evaluation.original import original_loss, packed_nats_per_char
from frontpage.evaluation.scoring import ScoringBatch, ScoringRows
from frontpage.models.language_module import LanguageModule


class ScoringSettings(Protocol):
    """What a run's `config.data` says about scoring, in tokens; the first two matter to the original's metric only."""

    block_size: int
    batch_size: int
    evaluation_tokens: int
    evaluation_row: int | None


class ScoredTitles:
    """Titles, each token of which a model has scored once.

    `module` is what `load_run` returns, `settings` its `config.data`. `nll` holds the nats of each title, `scored` its
    scored tokens, both (titles,) on the CPU. Raises UserError for a title that the tokenizer cannot keep.
    """

    def __init__(self, module: LanguageModule, titles: Sequence[str], settings: ScoringSettings) -> None:
        self.module, self.titles, self.settings = module, list(titles), settings
        self.encoded = encode_titles(module.tokenizer, self.titles)
        self.sizes = TextSizes.of(self.titles, self.encoded.lengths)
        self.nll, self.scored = self._score()

    def metrics(self, chosen: np.ndarray | None = None) -> dict[str, float | None]:
        """The `val/` metrics of `evaluation.md` over all titles, or over those that `chosen` (titles,) bool picks."""
        encoded, sizes, nll, scored = self.encoded, self.sizes, self.nll, self.scored
        if chosen is not None:
            picked = torch.from_numpy(np.flatnonzero(chosen))
            encoded, nll, scored = _pick(encoded, picked.numpy()), nll[picked], scored[picked]
            sizes = TextSizes(sizes.characters[picked], sizes.bytes[picked], sizes.tokens[picked])
        metrics: dict[str, float | None] = dict(honest_metrics(nll, scored, sizes))
        block_size, batch_tokens = self.settings.block_size, self.settings.evaluation_tokens
        metrics["val/packed_nats_per_char"] = packed_nats_per_char(
            self.module, encoded, sizes, block_size, batch_tokens
        )
        loss, coverage = original_loss(self.module, encoded, sizes, block_size, self.settings.batch_size)
        return metrics | {"val/mainrun_loss": loss, "val/mainrun_coverage": coverage}

    @torch.no_grad()
    def _score(self) -> tuple[torch.Tensor, torch.Tensor]:
        device, tokenizer = self.module.device, self.module.tokenizer
        sums = TitleScores(len(self.titles)).to(device)
        rows = ScoringRows(
            self.encoded,
            context=self.settings.block_size,
            pad_id=tokenizer.pad_id,
            eos_id=tokenizer.eos_id,
            batch_tokens=self.settings.evaluation_tokens,
            row_length=self.settings.evaluation_row,
        )
        for batch in rows:
            moved = ScoringBatch(*(field if field is None else field.to(device) for field in batch))
            sums.update(*self.module.score(moved))
        return sums.compute()


def _pick(encoded: EncodedTitles, chosen: np.ndarray) -> EncodedTitles:
    """The titles with the indices `chosen`, in that order."""
    parts = [encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]] for index in chosen]
    return EncodedTitles(np.concatenate(parts), np.concatenate(([0], np.cumsum(encoded.lengths[chosen]))))
