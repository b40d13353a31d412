"""The original exercise's metric, to put a run beside published claims, and the same at full coverage."""

import math
from collections.abc import Iterable

import torch

from frontpage.command.progress_line import watched
from frontpage.data.encoded import EncodedTitles
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.scoring_rows import original_rows, original_tokens_scored, packed_rows
from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.losses import token_losses
from frontpage.evaluation.scorer import Scorer


def original_loss(
    module: Scorer,
    encoded: EncodedTitles,
    sizes: TextSizes,
    block_size: int,
    batch_size: int,
    watch: str | None = None,
) -> tuple[float | None, float]:
    """(`val/mainrun_loss`, `val/mainrun_coverage`): summed nats over characters, and the share of tokens summed.

    The loss falls with the coverage, so neither means anything without the other. Where no span of
    `block_size * batch_size + 1` tokens fits: (None, 0). `watch` is what a line of progress calls the work, if any.
    """
    scored = original_tokens_scored(len(encoded.tokens), block_size, batch_size)
    if scored == 0:
        return None, 0.0
    eos_id = int(encoded.tokens[-1])
    spans, batches = scored // (block_size * batch_size), original_rows(encoded, block_size, batch_size, eos_id=eos_id)
    total = _summed_nats(module, batches, spans, watch and f"{watch}, the original's spans")
    return total / float(sizes.characters.sum()), scored / len(encoded.tokens)


def packed_nats_per_char(
    module: Scorer,
    encoded: EncodedTitles,
    sizes: TextSizes,
    block_size: int,
    batch_tokens: int,
    watch: str | None = None,
) -> float:
    """`val/packed_nats_per_char`: nats a character in the original's context, every token scored once.

    `watch` is what a line of progress calls the work, if any.
    """
    eos_id = int(encoded.tokens[-1])
    rows = math.ceil(len(encoded.tokens) / block_size)
    count = math.ceil(rows / max(batch_tokens // block_size, 1))
    batches = packed_rows(encoded, block_size, batch_tokens, pad_id=eos_id, eos_id=eos_id)
    nats = _summed_nats(module, batches, count, watch and f"{watch}, packed")
    return nats / float(sizes.characters.sum())


@torch.no_grad()
def _summed_nats(module: Scorer, batches: Iterable[TitleBatch], count: int, watch: str | None) -> float:
    """The nats of all scored tokens of `count` batches of one size."""
    total = 0.0
    for batch in batches if watch is None else watched(batches, watch, [1] * count):
        batch = TitleBatch(*(field.to(module.device) for field in batch))
        scored = batch.targets != IGNORED
        nll = token_losses(module.hidden(batch)[scored], module.language_head, batch.targets[scored])
        total += float(nll.cpu().double().sum())
    return total
