"""adamw_8bit: AdamW whose two averages take a byte a weight each."""

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.command.limits import Amount, Positive
from frontpage.recipe.optimizers.settings import Betas, Decay


def adamw_8bit(
    params: Iterable[Any],
    lr: Amount = 1e-3,
    betas: Betas = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: Decay = 0.1,
) -> Optimizer:
    """`bitsandbytes.optim.AdamW8bit` (Dettmers et al. 2021, arXiv 2110.02861); small weights keep 32 bits a number.

    From bitsandbytes 0.50 on, which the extra asks for, it computes on the CPU, too. Raises UserError without it.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"optimizer=adamw_8bit: needs the extra adamw8bit ({error});"
            f" {installing('adamw8bit')}, or take optimizer=adamw"
        ) from error
    return AdamW8bit(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
