"""Recurrence: from a share of the run on, tokens go through the layers twice."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from frontpage.command.limits import ShareBelow1
from frontpage.models.additions.addition import Addition
from frontpage.models.decoder import Decoder


class Recurrence(Addition):
    """The layers read what they have given, f(f(x)), once the share `start` of a run's updates is made.

    Nothing lies between the rounds. Gradients go through the layers of the last one alone; past those of the first they
    reach the embedding unchanged, as along the residual stream. Whether there are two rounds is a state of the weights,
    the buffer `twice`: evaluation and generation from later checkpoints have them, too. Of the slowrun's tiny track.
    Raises ValueError for an architecture that has caches beside those of its attentions.
    """

    def __init__(self, net: Decoder, start: ShareBelow1 = 0.7) -> None:
        super().__init__()
        if type(net).new_cache is not Decoder.new_cache:
            raise ValueError(f"start={start}: recurrence cannot double the caches that {type(net).__name__} adds")
        self.start = start
        self.register_buffer("twice", torch.tensor(False))
        self.rounds = 1  # as `twice` says: a number that no device has to be asked for
        self.register_load_state_dict_post_hook(_read_rounds)

    def at(self, share: float) -> None:
        """Two rounds from `start` on."""
        self.twice.fill_(share >= self.start)
        self.rounds = 2 if share >= self.start else 1

    def before_layers(self, x: Tensor, earlier_round: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if self.rounds == 1:
            return x
        device = x.device.type
        as_around = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        # What is cast without a gradient must not be found by the pass that has one (before PyTorch's pull 165068).
        with torch.no_grad(), torch.autocast(*as_around, cache_enabled=False):
            given = earlier_round(x)
        return given + (x - x.detach())


def _read_rounds(addition: Recurrence, _: Any) -> None:
    addition.rounds = 2 if addition.twice else 1
