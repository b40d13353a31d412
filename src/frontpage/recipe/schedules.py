"""Learning-rate schedules, one signature: `(optimizer, total_steps, ...)`, stepped once an optimizer update.

`warmup` and every other length is a number of updates (a whole number) or a share of the run (a number below 1); the
rate rises linearly over the warm-up. `floor` is a share of the peak rate: no schedule goes below it after the warm-up.
A length that the run has no room for is a ValueError, except a warm-up, which gives a notice.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from frontpage.command.limits import Amount, Between, Positive, Share
from frontpage.command.notices import notice


def constant(optimizer: Optimizer, total_steps: int, warmup: Amount = 0, floor: Share = 1.0) -> LambdaLR:
    """The peak rate (times `floor`) after the warm-up."""
    return _schedule(optimizer, total_steps, warmup, lambda done, length: floor)


def linear(optimizer: Optimizer, total_steps: int, warmup: Amount = 0, floor: Share = 0.0) -> LambdaLR:
    """A straight line from the peak rate to `floor` of it."""
    return _schedule(optimizer, total_steps, warmup, lambda done, length: floor + (1 - floor) * (1 - done / length))


def cosine(optimizer: Optimizer, total_steps: int, warmup: Amount = 0, floor: Share = 0.0) -> LambdaLR:
    """Half a cosine from the peak rate to `floor` of it (Loshchilov and Hutter 2017, without restarts)."""
    return _schedule(
        optimizer,
        total_steps,
        warmup,
        lambda done, length: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done / length)),
    )


def step(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Amount = 0,
    floor: Share = 0.0,
    every: Positive = 0.3,
    gamma: Annotated[float, Between(0, 1, "(]")] = 0.1,
) -> LambdaLR:
    """A staircase: after each `every` behind the warm-up the rate is multiplied by `gamma`, down to `floor`."""
    rising = warmup_steps(warmup, total_steps)
    width = _length("every", every, total_steps, rising)
    return _schedule(optimizer, total_steps, warmup, lambda done, length: max(floor, gamma ** (done // width)))


def inverse_sqrt(optimizer: Optimizer, total_steps: int, warmup: Amount = 0.05, floor: Share = 0.0) -> LambdaLR:
    """The peak times sqrt(w / n) at the n-th update, w being those of the warm-up, at least one.

    Vaswani et al. 2017, equation 3; it does not depend on the length of the run where `warmup` does not.
    """
    rising = warmup_steps(warmup, total_steps)
    scale = max(rising, 1)
    return _schedule(
        optimizer,
        total_steps,
        warmup,
        lambda done, length: max(floor, math.sqrt(scale / (rising + done + 1))),
    )


def wsd(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Amount = 0,
    floor: Share = 0.0,
    decay: Amount = 0.2,
    shape: Literal["1-sqrt", "linear"] = "1-sqrt",
) -> LambdaLR:
    """Warm-up, stable at the peak, then down to `floor` over the last `decay` of the run.

    Hu et al. 2024 (MiniCPM, arXiv 2404.06395) named it; the fall by 1 - sqrt(share of the decay done), for which they
    found lower losses than for a `linear` one, and a fifth of the run for it are of Hägele et al. 2024 (2405.18392).
    """
    rising = warmup_steps(warmup, total_steps)
    falling = _length("decay", decay, total_steps, rising)
    power = {"1-sqrt": 0.5, "linear": 1.0}[shape]

    def after(done: int, length: int) -> float:
        share = max(0.0, (done - (length - falling)) / falling)
        return floor + (1 - floor) * (1 - share**power)

    return _schedule(optimizer, total_steps, warmup, after)


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Updates of warm-up: `warmup` itself, or that share of `total_steps`; a notice where it is longer than the run.

    Raises ValueError for a negative or fractional number of updates.
    """
    steps = updates_of("warmup", warmup, total_steps)
    if steps > total_steps:
        notice(f"scheduler.warmup={warmup} is longer than the run of {total_steps} updates; the rate rises to its end")
    return steps


def updates_of(name: str, length: float, total_steps: int) -> int:
    """A length of a schedule in updates; ValueError for one that is negative or a fraction above 1."""
    if length < 0 or (length >= 1 and length != int(length)):
        raise ValueError(f"{name}={length}: a whole number of updates, or a share of the run below 1")
    return round(length * total_steps) if length < 1 else int(length)


def _length(name: str, length: float, total_steps: int, rising: int) -> int:
    """Updates, at least one, of a part behind the warm-up; ValueError for a part that does not fit there."""
    steps, room, is_share = max(updates_of(name, length, total_steps), 1), total_steps - rising, length < 1
    if room < 0:
        return steps  # the warm-up's notice says that nothing of it will be seen
    if length == 0 or steps > room + is_share:  # shares that add up to 1 may be rounded to one update more
        if is_share:
            raise ValueError(f"{name}={length}: above 0, and at most the {room / total_steps:.3g} after the warm-up")
        raise ValueError(f"{name}={length}: at most {room}, which the warm-up leaves of the run's {total_steps}")
    return max(min(steps, room), 1)


def _schedule(optimizer: Optimizer, total_steps: int, warmup: float, after: Callable[[int, int], float]) -> LambdaLR:
    """`after(done, length)` gives the rate's factor when `done` of the `length` updates behind the warm-up are over."""
    rising = warmup_steps(warmup, total_steps)
    length = max(total_steps - rising, 1)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return after(max(min(step, total_steps) - rising, 0), length)

    return LambdaLR(optimizer, factor)
