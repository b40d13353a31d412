"""The original exercise's metric, to put a run beside published claims, and the same at full coverage."""

from typing import TYPE_CHECKING

import torch

from frontpage.data.encoded import EncodedTitles
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.evaluation.metrics import TextSizes
from frontpage.evaluation.scoring import original_rows, original_tokens_scored, packed_rows
from frontpage.losses import token_losses

if TYPE_CHECKING:
    from frontpage.models.language_module import LanguageModule


def original_loss(
    module: "LanguageModule", encoded: EncodedTitles, sizes: TextSizes, block_size: int, batch_size: int
) -> tuple[float | None, float]:
    """(`val/mainrun_loss`, `val/mainrun_coverage`): summed nats over characters, and the share of tokens summed.

    The loss falls with the coverage, so neither means anything without the other. Where no span of
    `block_size * batch_size + 1` tokens fits: (None, 0).
    """
    scored = original_tokens_scored(len(encoded.tokens), block_size, batch_size)
    if scored == 0:
        return None, 0.0
    eos_id = int(encoded.tokens[-1])
    total = sum(_summed_nats(module, batch) for batch in original_rows(encoded, block_size, batch_size, eos_id=eos_id))
    return total / float(sizes.characters.sum()), scored / len(encoded.tokens)


def packed_nats_per_char(
    module: "LanguageModule", encoded: EncodedTitles, sizes: TextSizes, block_size: int, batch_tokens: int
) -> float:
    """`val/packed_nats_per_char`: nats a character in the original's context, every token scored once."""
    eos_id = int(encoded.tokens[-1])
    batches = packed_rows(encoded, block_size, batch_tokens, pad_id=eos_id, eos_id=eos_id)
    return sum(_summed_nats(module, batch) for batch in batches) / float(sizes.characters.sum())


@torch.no_grad()
def _summed_nats(module: "LanguageModule", batch: TitleBatch) -> float:
    batch = TitleBatch(*(field.to(module.device) for field in batch))
    scored = batch.targets != IGNORED
    nll = token_losses(module.hidden(batch)[scored], module.net.head.weight, batch.targets[scored])
    return float(nll.cpu().double().sum())
