"""Learning-rate schedules, one signature: `(optimizer, total_steps, ...)`, stepped once an optimizer update.

`warmup` is a number of updates (a whole number) or a share of the run (a number below 1); the rate rises linearly over
it. `floor` is the share of the peak rate at which a schedule ends.
"""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from frontpage.notices import notice


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0, floor: float = 1.0) -> LambdaLR:
    """The peak rate (times `floor`) after the warm-up."""
    return _schedule(optimizer, total_steps, warmup, lambda progress: floor)


def linear(optimizer: Optimizer, total_steps: int, warmup: float = 0, floor: float = 0.0) -> LambdaLR:
    """A straight line from the peak rate to `floor` of it."""
    return _schedule(optimizer, total_steps, warmup, lambda progress: floor + (1 - floor) * (1 - progress))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0, floor: float = 0.0) -> LambdaLR:
    """Half a cosine from the peak rate to `floor` of it (Loshchilov and Hutter 2017, without restarts)."""
    return _schedule(
        optimizer,
        total_steps,
        warmup,
        lambda progress: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)),
    )


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Updates of warm-up: `warmup` itself, or that share of `total_steps`; a notice where it is longer than the run.

    Raises ValueError for a negative or fractional number of updates.
    """
    if warmup < 0 or (warmup >= 1 and warmup != int(warmup)):
        raise ValueError(f"warmup={warmup}: a whole number of updates, or a share of the run below 1")
    steps = round(warmup * total_steps) if warmup < 1 else int(warmup)
    if steps > total_steps:
        notice(f"scheduler.warmup={warmup} is longer than the run of {total_steps} updates; the rate rises to its end")
    return steps


def _schedule(optimizer: Optimizer, total_steps: int, warmup: float, after: Callable[[float], float]) -> LambdaLR:
    """`after(progress)` gives the rate's factor for progress 0 to 1 behind the warm-up."""
    rising = warmup_steps(warmup, total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return after(min((step - rising) / max(total_steps - rising, 1), 1.0))

    return LambdaLR(optimizer, factor)
