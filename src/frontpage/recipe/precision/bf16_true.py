"""Bf16True: weights, gradients and averages in bf16."""

import functools
from collections.abc import Callable
from typing import Annotated

from omegaconf import DictConfig
from torch.optim import Optimizer

from frontpage.command.limits import OneOf, Text
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.recipe.precision.own_adamw import adamw_settings, torchao_adamw
from frontpage.recipe.precision.packages import package


class Bf16True(PrecisionMode):
    """All of a net in bf16, whose 8 binary digits lose an update that is smaller than 1/256 of its weight.

    `rounding=stochastic` rounds each weight up or down by chance, so that such updates are kept on average (torchao's
    AdamW in place of `optimizer=adamw`); `nearest` loses them, with any optimizer.
    """

    def __init__(self, name: Text, rounding: Annotated[str, OneOf("stochastic", "nearest")] = "stochastic") -> None:
        super().__init__(name, "bf16-true")
        self.rounding = rounding

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without bf16, and without torchao where that rounds."""
        super().check(config)
        if self.rounding == "stochastic":
            package("torchao.optim", self.name)

    def check_processes(self, processes: int) -> None:
        """Raise a UserError where several processes would each round by chance what should stay the same in all."""
        if self.rounding == "stochastic" and processes > 1:
            why = "each of several processes would round its copy of the weights by its own chance"
            raise self.refusal(f"{why}; precision.rounding=nearest, or one device")

    def optimizer(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """torchao's AdamW, or the config's optimizer."""
        if self.rounding == "nearest":
            return make_optimizer
        settings = adamw_settings(self, make_optimizer)
        return functools.partial(torchao_adamw, kind="_AdamW", mode=self.name, **settings)
