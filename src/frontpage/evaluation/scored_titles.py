"""Any titles, scored by a reopened run: what a validation computes, without a Trainer."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from frontpage.command.progress_line import watched
from frontpage.data.documents import APART, Documents
from frontpage.data.encoded import EncodedTitles, encode_titles
from frontpage.data.scoring_rows import ScoringBatch, ScoringRows
from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.metrics import TitleScores, honest_metrics
from frontpage.evaluation.original import original_loss, packed_nats_per_char
from frontpage.evaluation.scorer import Scorer


class ScoringSettings(Protocol):
    """What a run's `config.data` says about scoring, in tokens; the first two matter to the original's metric only."""

    block_size: int
    batch_size: int
    evaluation_tokens: int
    evaluation_row: int | None


class ScoredTitles:
    """Titles, each token of which a model has scored once, by themselves or after those before them in a document.

    `module` is what `load_run` returns, `settings` its `config.data`. `nll` holds the nats of each document, which is a
    title unless `documents` join some, `scored` its scored tokens, both (documents,) on the CPU. `watch` is what a line
    of progress calls the work; without it there is none. Raises UserError for a title that the tokenizer cannot keep.
    """

    def __init__(
        self,
        module: Scorer,
        titles: Sequence[str],
        settings: ScoringSettings,
        watch: str | None = None,
        documents: Documents = APART,
    ) -> None:
        self.module, self.titles, self.settings = module, list(titles), settings
        encoded = encode_titles(module.tokenizer, self.titles)
        self.encoded = documents.encoded(encoded)
        self.sizes = documents.sizes(TextSizes.of(self.titles, encoded.lengths))
        self.nll, self.scored = self._score(watch)

    def metrics(self, chosen: np.ndarray | None = None) -> dict[str, float | None]:
        """The honest metrics of `docs/metrics.md` over all documents, or over those that `chosen` (documents,) picks.

        They are sums of what is known of each document: nothing is scored again.
        """
        if chosen is None:
            return dict(honest_metrics(self.nll, self.scored, self.sizes))
        picked = torch.from_numpy(np.flatnonzero(chosen))
        return dict(honest_metrics(self.nll[picked], self.scored[picked], self.sizes.of_some(picked)))

    def metrics_of_the_stream(
        self, chosen: np.ndarray | None = None, watch: str | None = None
    ) -> dict[str, float | None]:
        """`val/packed_nats_per_char`, `val/mainrun_loss` and `val/mainrun_coverage` of all or the chosen titles.

        They score the titles as one stream, in which a title's nats depend on its neighbours: each is a pass of its
        own over the titles that it is of.
        """
        encoded, sizes = self.encoded, self.sizes
        if chosen is not None:
            picked = np.flatnonzero(chosen)
            encoded, sizes = _pick(encoded, picked), sizes.of_some(torch.from_numpy(picked))
        block_size, batch_tokens = self.settings.block_size, self.settings.evaluation_tokens
        packed = packed_nats_per_char(self.module, encoded, sizes, block_size, batch_tokens, watch)
        loss, coverage = original_loss(self.module, encoded, sizes, block_size, self.settings.batch_size, watch)
        return {"val/packed_nats_per_char": packed, "val/mainrun_loss": loss, "val/mainrun_coverage": coverage}

    @torch.no_grad()
    def _score(self, watch: str | None) -> tuple[torch.Tensor, torch.Tensor]:
        sums = TitleScores(len(self.encoded)).to(self.module.device)
        for batch in scoring_batches(self.module, self.encoded, self.settings, watch):
            sums.update(*self.module.score(batch))
        nll, scored = sums.compute()
        return nll.reshape(-1), scored.reshape(-1)  # torchmetrics makes a number of a single one


def scoring_batches(
    module: Scorer, encoded: EncodedTitles, settings: ScoringSettings, watch: str | None
) -> Iterator[ScoringBatch]:
    """The titles as a validation gives them to the module, on its device; the parameters as of ScoredTitles."""
    rows = ScoringRows(
        encoded,
        context=settings.block_size,
        pad_id=module.tokenizer.pad_id,
        eos_id=module.tokenizer.eos_id,
        batch_tokens=settings.evaluation_tokens,
        row_length=settings.evaluation_row,
    )
    for batch in rows if watch is None else watched(rows, watch, rows.sizes):
        yield ScoringBatch(*(field if field is None else field.to(module.device) for field in batch))


def _pick(encoded: EncodedTitles, chosen: np.ndarray) -> EncodedTitles:
    """The titles with the indices `chosen`, in that order."""
    parts = [encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]] for index in chosen]
    return EncodedTitles(np.concatenate(parts), np.concatenate(([0], np.cumsum(encoded.lengths[chosen]))))
