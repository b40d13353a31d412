"""Scorer: what scoring asks of a trained module, whatever its architecture."""

from typing import Protocol

import torch
from torch import Tensor, nn

from frontpage.data.packing import TitleBatch
from frontpage.data.scoring_rows import ScoringBatch
from frontpage.data.tokenizer import TitleTokenizer


class Scorer(Protocol):
    """A reopened run, or a module in training: it knows its tokens, its device, and what its head reads."""

    tokenizer: TitleTokenizer
    device: torch.device
    net: nn.Module
    language_head: nn.Module  # (..., C) -> logits (..., V)

    def hidden(self, batch: TitleBatch) -> Tensor:
        """(B, T, C) in the context that the run trains with."""

    def score(self, batch: ScoringBatch) -> tuple[Tensor, Tensor]:
        """(nats, index of the title) of each of the batch's N scored tokens, both (N,)."""
